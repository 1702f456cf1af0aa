package lambent.runtime;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Where the function's classes and resources are found. */
final class Code {
    private Code() {}

    /**
     * The function's classes, then its jars, then the layers' jars, each sorted by name, all after
     * the bootstrap's own. The application class loader itself searches them: it is the only one
     * whose classes come out of an archive of class data without being read and checked.
     */
    static ClassLoader loader(String bootstrap, boolean prepare) throws MalformedURLException {
        List<String> path = prepare ? prepared() : path();
        String all = bootstrap + "/bootstrap.jar" + File.pathSeparator + String.join(File.pathSeparator, path);
        try {
            Internals.classPath(all);
        } catch (ReflectiveOperationException | RuntimeException e) { // a JDK that is built differently
            List<URL> urls = new ArrayList<>();
            for (String p : path) {
                urls.add(new File(p).toURI().toURL());
            }
            return new URLClassLoader(urls.toArray(new URL[0]), Code.class.getClassLoader());
        }
        // What the JVM was told besides is no business of the function's.
        System.setProperty("java.class.path", bootstrap + "/bootstrap.jar");
        return ClassLoader.getSystemClassLoader();
    }

    /** Goes through a search of a folder and an archive, with a class that no archive of class data has. */
    static void warm(String bootstrap) throws ReflectiveOperationException, IOException {
        Internals.classPath(bootstrap + "/bootstrap.jar" + File.pathSeparator + bootstrap + "/");
        ClassLoader app = ClassLoader.getSystemClassLoader();
        Class.forName("lambent.runtime.Spark", true, app);
        try (InputStream in = app.getResourceAsStream("bootstrap.jar")) {
            if (in != null) {
                in.read();
            }
        }
        path();
        Internals.classPath(bootstrap + "/bootstrap.jar");
    }

    /** What the JVM was told: only what comes from an archive on its own class path can be archived. */
    private static List<String> prepared() {
        List<String> out = new ArrayList<>(Arrays.asList(System.getProperty("java.class.path").split(File.pathSeparator)));
        out.remove(0);
        // Resources are in the folder; its classes are in the first archive.
        out.add(!out.isEmpty() && out.get(0).endsWith("/app.jar") ? 1 : 0, root() + "/");
        return out;
    }

    private static String root() {
        String root = System.getenv("LAMBDA_TASK_ROOT");
        return root == null ? "/var/task" : root;
    }

    private static List<String> path() {
        String root = root();
        List<String> out = new ArrayList<>();
        out.add(root + "/");
        jars(out, new File(root, "lib"));
        jars(out, new File("/opt/java/lib"));
        return out;
    }

    private static void jars(List<String> out, File dir) {
        String[] names = dir.list();
        if (names == null) {
            return;
        }
        Arrays.sort(names);
        for (String n : names) {
            if (n.endsWith(".jar")) {
                out.add(dir + "/" + n);
            }
        }
    }
}
