package lambent.runtime;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.URL;
import java.net.URLConnection;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;
import java.util.jar.JarFile;

/** A JVM that is up, has done all that every function needs, and waits for its function. */
final class Blank {
    private static final int ROUNDS = 60;
    private static final List<JarFile> OPEN = new ArrayList<>();

    private Blank() {}

    /** Waits until the blank is wanted and returns the environment that it then has. */
    static Map<String, String> become(Control control, String folder) throws IOException, ReflectiveOperationException {
        Native.load(folder);
        quietly(folder);
        preload(new File("/var/cache/lambent/classes"));
        open(new File("/var/cache/lambent/lib"));
        open(new File("/var/cache/lambent/opt"));
        control.say('B');
        Map<String, String> env = control.await();
        if (env == null) {
            Runtime.getRuntime().halt(0);
        }
        enter(Control.tidy(env));
        return env;
    }

    /** Loads what a blank loads, and ends: the JVM notes which classes those are. */
    static void rehearse(String folder) {
        Native.load(folder);
        quietly(folder);
        Runtime.getRuntime().halt(0);
    }

    /** Warms up without a trace. */
    private static void quietly(String folder) {
        PrintStream out = System.out;
        System.setOut(new PrintStream(OutputStream.nullOutputStream(), true, StandardCharsets.UTF_8));
        try {
            warm(folder);
        } catch (Exception | LinkageError e) {
            if (System.getenv("LAMBENT_PREPARE") != null) {
                throw new IllegalStateException("warm up", e); // while an archive is made: no class list is better than half of one
            }
            // What could not be tried is loaded when the function needs it.
        }
        System.setOut(out);
        Log.requestId = null;
        System.clearProperty("com.amazonaws.xray.traceHeader");
    }

    /** What native code knows of the environment; System.getenv is the caller's matter. */
    private static void enter(Map<String, String> env) {
        // The directory was mounted over the one that this process started in.
        Native.enter(env.getOrDefault("LAMBDA_TASK_ROOT", "/var/task"), env);
        System.clearProperty("user.timezone");
        TimeZone.setDefault(null); // found anew, by TZ
    }

    /** Loads the classes of a version's archive without initialising any: none of its code runs. */
    private static void preload(File list) {
        if (!list.isFile()) {
            return;
        }
        ClassLoader loader = ClassLoader.getSystemClassLoader();
        int n = 0;
        try (InputStream in = new FileInputStream(list)) {
            for (String name : new String(in.readAllBytes(), StandardCharsets.UTF_8).split("\n")) {
                try {
                    Class.forName(name, false, loader);
                    if (n++ % 8 == 0) {
                        read(loader.getResource(name.replace('.', '/') + ".class"));
                    }
                } catch (ClassNotFoundException | IOException | LinkageError e) {
                    // one that only the first start could load
                }
            }
        } catch (IOException e) {
            // without it the classes are loaded when they are needed
        }
    }

    /** Reads a resource, as frameworks do with hundreds: the JDK's way to them is compiled by then. */
    private static void read(URL resource) throws IOException {
        if (resource == null) {
            return;
        }
        URLConnection c = resource.openConnection();
        c.setUseCaches(false);
        try (InputStream in = c.getInputStream()) {
            in.readAllBytes();
        }
    }

    /**
     * Opens the function's archives, whose directories the JDK keeps as long as anyone has them open.
     * They are links to the very files that the class path names: it knows them by device and inode.
     */
    private static void open(File folder) {
        File[] files = folder.listFiles();
        for (int i = 0; files != null && i < files.length; i++) {
            try {
                OPEN.add(new JarFile(files[i]));
            } catch (IOException e) {
                // one that is not used, or is refused when it is
            }
        }
    }

    /** Runs events of its own making through all that an invocation goes through. */
    private static void warm(String folder) throws Exception {
        for (String name : new String[] {"$Plain", "$Bean", "$Streams", "::method", "$Broken"}) {
            Handler handler = Handler.load(Blank.class.getName() + name, Blank.class.getClassLoader());
            int rounds = name.equals("$Plain") ? ROUNDS : name.equals("$Broken") ? 2 : 5;
            for (int i = 0; i < rounds; i++) {
                // Port 0: a mistake in here must not reach the Runtime API.
                Client client = new Client("127.0.0.1:0", new Answers(), OutputStream.nullOutputStream());
                new Main(client, handler).handle(client.next());
            }
        }
        Control.environment("{\"env\":{\"A\":\"b\\n\"}}");
        Internals.environment(Control.tidy(System.getenv()));
        Code.warm(folder);
        TimeZone.getDefault();
        connect();
    }

    /** What the Runtime API would answer, one answer with each read. */
    private static final class Answers extends InputStream {
        private static final String EVENT = "{\"name\":\"\u00e9\\n\",\"count\":1,\"price\":-2.5e3,\"on\":true,\"off\":null,"
                + "\"list\":[1,\"a\"],\"map\":{\"a\":{}}}";
        private static final byte[][] TEXTS = {
            bytes("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    + "Lambda-Runtime-Aws-Request-Id: 8476a536-e9f4-11e8-9739-2dfe598c3fcd\r\n"
                    + "Lambda-Runtime-Deadline-Ms: 1542409706888\r\nLambda-Runtime-Trace-Id: Root=1\r\n"
                    + "Lambda-Runtime-Invoked-Function-Arn: arn\r\nContent-Length: " + bytes(EVENT).length + "\r\n\r\n" + EVENT),
            bytes("HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n"),
        };

        private int next;

        private static byte[] bytes(String s) {
            return s.getBytes(StandardCharsets.UTF_8);
        }

        @Override
        public int read() {
            return -1; // nobody reads single bytes
        }

        @Override
        public int read(byte[] b, int off, int len) {
            if (next == TEXTS.length) {
                return -1;
            }
            byte[] text = TEXTS[next++];
            System.arraycopy(text, 0, b, off, text.length);
            return text.length;
        }
    }

    /** One connection, to a listener of its own. */
    private static void connect() throws IOException {
        try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getByName("127.0.0.1")); Socket s = new Socket()) {
            s.setTcpNoDelay(true);
            s.connect(new InetSocketAddress("127.0.0.1", server.getLocalPort()));
            try (Socket other = server.accept()) {
                s.getOutputStream().write(1);
                other.getInputStream().read(new byte[16], 0, 16);
            }
        }
    }

    /** A handler of maps. */
    public static final class Plain implements RequestHandler<Map<String, Object>, Map<String, Object>> {
        @Override
        public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
            context.getRemainingTimeInMillis();
            context.getLogger().log("warm");
            return event;
        }
    }

    /** A handler of beans. */
    public static final class Bean implements RequestHandler<Bean.Value, Bean.Value> {
        /** A bean. */
        public static final class Value {
            private String name;
            private int count;
            private double price;
            private List<Object> list;

            public String getName() {
                return name;
            }

            public void setName(String name) {
                this.name = name;
            }

            public int getCount() {
                return count;
            }

            public void setCount(int count) {
                this.count = count;
            }

            public double getPrice() {
                return price;
            }

            public void setPrice(double price) {
                this.price = price;
            }

            public List<Object> getList() {
                return list;
            }

            public void setList(List<Object> list) {
                this.list = list;
            }
        }

        @Override
        public Value handleRequest(Value event, Context context) {
            return event;
        }
    }

    /** A handler of streams. */
    public static final class Streams implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context context) throws IOException {
            out.write(in.readAllBytes());
        }
    }

    /** A handler that fails. */
    public static final class Broken implements RequestHandler<Object, Object> {
        @Override
        public Object handleRequest(Object event, Context context) {
            throw new IllegalStateException("warm");
        }
    }

    /** A handler that is a method. */
    public static String method(Map<String, String> event, Context context) {
        return "warm";
    }
}
