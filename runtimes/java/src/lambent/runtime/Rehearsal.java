package lambent.runtime;

import java.io.FileOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Starts an HTTP application, asks it one thing when it listens, and ends it as any instance is
 * ended, so that the JVM notes the classes that it takes: {@code Rehearsal PORT PATH SECONDS CLASS
 * ARGUMENT...}. It gives up when nobody listens by then.
 */
public final class Rehearsal implements Runnable {
    private static final int LOOK_MILLIS = 20;
    private static final int ANSWER_MILLIS = 20_000;

    private final int port;
    private final String path;
    private final long patience; // nanoseconds

    private Rehearsal(int port, String path, int seconds) {
        this.port = port;
        this.path = path.isEmpty() ? "/" : path;
        patience = seconds * 1_000_000_000L;
    }

    public static void main(String[] args) throws Throwable {
        Thread caller = new Thread(new Rehearsal(Integer.parseInt(args[0]), args[1], Integer.parseInt(args[2])), "lambent");
        caller.setDaemon(true);
        caller.start();
        Method main = Class.forName(args[3]).getMethod("main", String[].class);
        main.setAccessible(true); // of a class that need not be public
        try {
            main.invoke(null, (Object) Arrays.copyOfRange(args, 4, args.length));
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    /** Waits for the application, asks it, notes that it answered, and ends the process. */
    @Override
    public void run() {
        long begin = System.nanoTime();
        try {
            while (!ask()) {
                if (System.nanoTime() - begin > patience) {
                    throw new IOException("nobody listens on port " + port);
                }
                Thread.sleep(LOOK_MILLIS);
            }
            new FileOutputStream("/tmp/answered").close();
        } catch (IOException | InterruptedException e) {
            System.err.println("lambent: " + e); // no file: there will be no archive
        }
        System.exit(0);
    }

    /** Tells whether anybody listened. What the answer is does not matter. */
    private boolean ask() throws IOException {
        try (Socket s = new Socket()) {
            try {
                s.connect(new InetSocketAddress("127.0.0.1", port), ANSWER_MILLIS);
            } catch (java.net.ConnectException e) {
                return false;
            }
            s.setSoTimeout(ANSWER_MILLIS);
            String request = "GET " + path + " HTTP/1.1\r\nHost: localhost:" + port
                    + "\r\nUser-Agent: lambent-health\r\nAccept: */*\r\nConnection: close\r\n\r\n";
            s.getOutputStream().write(request.getBytes(StandardCharsets.US_ASCII));
            InputStream in = s.getInputStream();
            byte[] part = new byte[8192];
            while (in.read(part) >= 0) {
                // to the end of the answer
            }
            return true;
        }
    }
}
