package lambent.runtime;

import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.Map;

/** The sandbox driver's end of the start: the control protocol of runtimes/README.md. */
final class Control {
    /** How large an environment may be: the protocol's limit. */
    private static final int MAX_MESSAGE = 256 << 10;

    private final FileInputStream in;
    private final FileOutputStream out;

    private Control(FileInputStream in, FileOutputStream out) {
        this.in = in;
        this.out = out;
    }

    /** The channel that the environment names, or null. */
    static Control open(String number) throws ReflectiveOperationException {
        if (number == null) {
            return null;
        }
        java.io.FileDescriptor fd = Internals.descriptor(Integer.parseInt(number));
        return new Control(new FileInputStream(fd), new FileOutputStream(fd));
    }

    /** The environment without what was only for the bootstrap. */
    static Map<String, String> tidy(Map<String, String> env) {
        Map<String, String> out = new LinkedHashMap<>(env);
        out.keySet().removeIf(name -> name.startsWith("LAMBENT_"));
        return out;
    }

    void say(char c) throws IOException {
        out.write(c);
    }

    /** Tells that the function's own code comes next. On Linux nanoTime is CLOCK_MONOTONIC. */
    void turn() throws IOException {
        out.write(java.nio.ByteBuffer.allocate(9).put((byte) 'T').putLong(System.nanoTime()).array());
    }

    /** Waits for the function's environment; null when there will be no function. */
    Map<String, String> await() throws IOException {
        DataInputStream data = new DataInputStream(in);
        int size;
        try {
            size = data.readInt();
        } catch (java.io.EOFException e) {
            return null;
        }
        if (size < 0 || size > MAX_MESSAGE) {
            throw new IOException("a control message of " + size + " bytes");
        }
        byte[] text = new byte[size];
        data.readFully(text);
        return environment(new String(text, StandardCharsets.UTF_8));
    }

    static Map<String, String> environment(String text) throws IOException {
        Object message = Json.parse(text);
        Object env = message instanceof Map ? ((Map<?, ?>) message).get("env") : null;
        if (!(env instanceof Map)) {
            throw new IOException("a control message without an environment");
        }
        Map<String, String> out = new LinkedHashMap<>();
        for (Map.Entry<?, ?> e : ((Map<?, ?>) env).entrySet()) {
            out.put(String.valueOf(e.getKey()), String.valueOf(e.getValue()));
        }
        return out;
    }

    void close() throws IOException {
        in.close(); // the descriptor is one
    }
}
