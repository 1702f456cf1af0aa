package lambent.runtime;

import java.nio.charset.StandardCharsets;
import java.util.Map;

/** The two things that need the C library: see native.c. */
final class Native {
    private Native() {}

    /** Loads the library of this machine's kind from the bootstrap's folder. */
    static void load(String folder) {
        System.load(folder + "/native-" + System.getProperty("os.arch") + ".so");
    }

    /** Moves the process to a directory and into an environment. */
    static void enter(String dir, Map<String, String> env) {
        byte[][] pairs = new byte[env.size() * 2][];
        int i = 0;
        for (Map.Entry<String, String> e : env.entrySet()) {
            pairs[i++] = text(e.getKey());
            pairs[i++] = text(e.getValue());
        }
        if (!enter(text(dir), pairs)) {
            throw new IllegalStateException("cannot move to " + dir);
        }
    }

    private static byte[] text(String s) {
        return (s + "\0").getBytes(StandardCharsets.UTF_8);
    }

    private static native boolean enter(byte[] dir, byte[][] pairs);
}
