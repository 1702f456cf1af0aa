package lambent.runtime;

import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.File;
import java.io.IOException;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** lambent's Java runtime: runs a handler on the AWS Lambda Runtime API. */
public final class Main {
    private final Client client;
    private Handler handler;

    private Main(Client client) {
        this.client = client;
    }

    public static void main(String[] args) {
        Log.install();
        try {
            new Main(new Client(System.getenv("AWS_LAMBDA_RUNTIME_API"))).run();
        } catch (IOException e) {
            System.err.println("lambent: " + e.getMessage());
            System.exit(1);
        }
    }

    private void run() throws IOException {
        try {
            ClassLoader loader = loader();
            Thread.currentThread().setContextClassLoader(loader);
            String name = System.getenv("_HANDLER");
            handler = Handler.load(name == null ? "" : name, loader);
        } catch (Fault f) {
            initError(f);
        } catch (Throwable t) {
            initError(new Fault(t));
        }
        while (true) {
            handle(client.next());
        }
    }

    /** The function's classes, then its jars, then the layers' jars, each sorted by name. */
    private static ClassLoader loader() throws MalformedURLException {
        String root = System.getenv("LAMBDA_TASK_ROOT");
        if (root == null) {
            root = "/var/task";
        }
        List<URL> urls = new ArrayList<>();
        urls.add(new File(root + "/").toURI().toURL());
        jars(urls, new File(root, "lib"));
        jars(urls, new File("/opt/java/lib"));
        return new URLClassLoader(urls.toArray(new URL[0]), Main.class.getClassLoader());
    }

    private static void jars(List<URL> urls, File dir) throws MalformedURLException {
        String[] names = dir.list();
        if (names == null) {
            return;
        }
        Arrays.sort(names);
        for (String n : names) {
            if (n.endsWith(".jar")) {
                urls.add(new File(dir, n).toURI().toURL());
            }
        }
    }

    private void initError(Fault f) throws IOException {
        Log.LOGGER.log(f.text(), LogLevel.ERROR);
        client.post("/init/error", Client.header("Lambda-Runtime-Function-Error-Type", f.type)
                + "Content-Type: application/json\r\n", bytes(f.json()));
        System.exit(1);
    }

    private void handle(Client.Answer event) throws IOException {
        Invocation invocation = new Invocation(event.headers);
        String id = invocation.getAwsRequestId();
        Log.requestId = id;
        String trace = invocation.getXrayTraceId();
        if (trace != null) {
            System.setProperty("com.amazonaws.xray.traceHeader", trace);
        } else {
            System.clearProperty("com.amazonaws.xray.traceHeader");
        }
        String tag = event.headers.get("lambda-runtime-invocation-id");
        String headers = "Content-Type: application/json\r\n"
                + (tag == null ? "" : Client.header("Lambda-Runtime-Invocation-Id", tag));
        byte[] answer;
        try {
            answer = handler.handle(event.body, invocation);
        } catch (Fault f) {
            error(id, headers, f);
            return;
        } catch (Throwable t) {
            error(id, headers, new Fault(t));
            if (t instanceof VirtualMachineError) {
                System.exit(1); // a JVM that is out of memory or stack is not to be trusted
            }
            return;
        } finally {
            System.out.flush();
            System.err.flush();
        }
        client.post("/invocation/" + id + "/response", headers, answer);
    }

    private void error(String id, String headers, Fault f) throws IOException {
        Log.LOGGER.log(f.text(), LogLevel.ERROR);
        client.post("/invocation/" + id + "/error",
                headers + Client.header("Lambda-Runtime-Function-Error-Type", f.type), bytes(f.json()));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
