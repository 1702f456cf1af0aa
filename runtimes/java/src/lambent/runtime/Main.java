package lambent.runtime;

import com.amazonaws.services.lambda.runtime.LambdaRuntimeInternal;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/** lambent's Java runtime: runs a handler on the AWS Lambda Runtime API. */
public final class Main {
    private final Client client;
    private Handler handler;

    Main(Client client, Handler handler) {
        this.client = client;
        this.handler = handler;
    }

    public static void main(String[] args) {
        Log.install();
        try {
            Control control = Control.open(System.getenv("LAMBENT_CONTROL"));
            String prepare = System.getenv("LAMBENT_PREPARE");
            if ("runtime".equals(prepare)) {
                Blank.rehearse(folder());
            }
            Map<String, String> env = System.getenv();
            if (System.getenv("LAMBENT_BLANK") != null) {
                env = Blank.become(control, folder());
            }
            adopt(env);
            Log.LOGGER.configure();
            if (control != null) {
                control.turn();
            }
            new Main(new Client(System.getenv("AWS_LAMBDA_RUNTIME_API")), null).run(control, prepare != null);
        } catch (IOException | ReflectiveOperationException e) {
            System.err.println("lambent: " + e);
            System.exit(1);
        }
    }

    /** Shows the function its environment. */
    private static void adopt(Map<String, String> env) throws ReflectiveOperationException {
        if (env != System.getenv() || env.containsKey("LAMBENT_CONTROL") || env.containsKey("LAMBENT_PREPARE")) {
            Internals.environment(Control.tidy(env));
        }
    }

    /** Where the bootstrap is. */
    private static String folder() {
        return new File(System.getProperty("java.class.path").split(File.pathSeparator, 2)[0]).getParent();
    }

    private void run(Control control, boolean prepare) throws IOException {
        try {
            ClassLoader loader = Code.loader(folder(), prepare);
            Thread.currentThread().setContextClassLoader(loader);
            String name = System.getenv("_HANDLER");
            handler = Handler.load(name == null ? "" : name, loader);
            hooks();
        } catch (Fault f) {
            initError(f);
        } catch (Throwable t) {
            initError(new Fault(t));
        }
        if (prepare) {
            System.out.flush();
            System.err.flush();
            Runtime.getRuntime().halt(0); // the JVM writes its archive now; no hook of the function's runs
        }
        if (control != null) {
            control.close();
        }
        while (true) {
            handle(client.next());
        }
    }

    /**
     * Tells the function's resources of the snapshot that AWS would take here ("Lambda SnapStart
     * runtime hooks for Java"). An error is one of the initialisation.
     */
    private static void hooks() throws Exception {
        if ("snap-start".equals(System.getenv("AWS_LAMBDA_INITIALIZATION_TYPE"))) {
            org.crac.Core.getGlobalContext().beforeCheckpoint(null);
            org.crac.Core.getGlobalContext().afterRestore(null);
        }
    }

    private void initError(Fault f) throws IOException {
        Log.LOGGER.error(f.text());
        client.post("/init/error", Client.header("Lambda-Runtime-Function-Error-Type", f.type)
                + "Content-Type: application/json\r\n", bytes(f.json()));
        System.exit(1);
    }

    void handle(Client.Answer event) throws IOException {
        Invocation invocation = new Invocation(event.headers);
        String id = invocation.getAwsRequestId();
        Log.requestId = id;
        if (LambdaRuntimeInternal.getUseLog4jAppender()) {
            Log4j.tag(id);
        }
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
        Log.LOGGER.error(f.text());
        client.post("/invocation/" + id + "/error",
                headers + Client.header("Lambda-Runtime-Function-Error-Type", f.type), bytes(f.json()));
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
