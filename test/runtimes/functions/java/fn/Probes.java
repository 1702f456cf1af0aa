package fn;

import java.io.File;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentSkipListMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;

/**
 * Attempts to get out of the sandbox with what the JDK has, in the function's own process. Nothing here does harm
 * where it works: a test runs it outside as well.
 */
public class Probes {
    private interface Attempt {
        String run() throws IOException;
    }

    private static String read(String path) throws IOException {
        File f = new File(path);
        if (f.isDirectory()) {
            try (var entries = Files.list(f.toPath())) {
                return entries.count() + " entries";
            }
        }
        try (RandomAccessFile in = new RandomAccessFile(f, "r")) {
            return "byte " + in.read();
        }
    }

    private static String open(String path) throws IOException {
        if (!new File(path).exists()) {
            throw new NoSuchFileException(path); // it would be made
        }
        try (var out = new RandomAccessFile(path, "rw")) {
            return "opened";
        }
    }

    private static String create(String dir) throws IOException {
        Path made = Path.of(dir, "lambent-probe-" + ProcessHandle.current().pid());
        Files.createFile(made);
        Files.delete(made);
        return "made";
    }

    private static String connect(String address) throws IOException {
        int colon = address.lastIndexOf(':');
        try (Socket s = new Socket()) {
            String host = address.substring(0, colon).replace("[", "").replace("]", "");
            s.connect(new InetSocketAddress(host, Integer.parseInt(address.substring(colon + 1))), 1500);
            return "connected";
        }
    }

    private static Map<String, Attempt> attempts(Map<?, ?> event) {
        Map<String, Attempt> all = new LinkedHashMap<>();
        List<String> reads = strings(event, "read");
        reads.addAll(List.of("/etc/shadow", "/root", "/proc/kcore"));
        reads.forEach(path -> all.put("read " + path, () -> read(path)));
        List.of("/proc/sys/kernel/core_pattern", "/sys/kernel/mm/transparent_hugepage/enabled", "/etc/passwd")
                .forEach(path -> all.put("write " + path, () -> open(path)));
        List<String> dirs = strings(event, "write");
        dirs.addAll(List.of("/usr/bin", "/"));
        dirs.forEach(dir -> all.put("write into " + dir, () -> create(dir)));
        for (String target : strings(event, "dial")) {
            if (target.startsWith("tcp ") && !target.contains("%")) {
                all.put("dial " + target, () -> connect(target.substring(4)));
            }
        }
        for (String pid : strings(event, "process")) {
            all.put("see " + pid, () -> {
                if (ProcessHandle.of(Long.parseLong(pid)).isEmpty()) {
                    throw new NoSuchFileException(pid);
                }
                return "seen";
            });
        }
        for (String name : strings(event, "seek")) {
            all.put("find another's /tmp", () -> read("/tmp/" + name));
        }
        return all;
    }

    private static List<String> strings(Map<?, ?> event, String name) {
        List<String> out = new ArrayList<>();
        Object v = event.get(name);
        if (v instanceof List) {
            ((List<?>) v).forEach(e -> out.add(e.toString()));
        } else if (v != null) {
            out.add(v.toString());
        }
        return out;
    }

    public static Map<String, Map<String, String>> run(Map<?, ?> event) {
        Map<String, Map<String, String>> outcome = new TreeMap<>();
        for (String kind : List.of("worked", "refused", "broken")) {
            outcome.put(kind, new ConcurrentSkipListMap<>());
        }
        // Most of the connections wait for nothing.
        ExecutorService pool = Executors.newFixedThreadPool(16);
        attempts(event).forEach((name, attempt) -> pool.execute(() -> {
            try {
                outcome.get("worked").put(name, attempt.run());
            } catch (SocketTimeoutException e) {
                outcome.get("refused").put(name, "timeout");
            } catch (IOException e) {
                outcome.get("refused").put(name, e.toString());
            } catch (RuntimeException e) {
                outcome.get("broken").put(name, e.toString());
            }
        }));
        pool.shutdown();
        try {
            pool.awaitTermination(1, TimeUnit.MINUTES);
        } catch (InterruptedException e) {
            outcome.get("broken").put("all", e.toString());
        }
        return outcome;
    }

    /** As a program of its own: the event is {"dial": [...], ...} by words, KEY VALUE KEY VALUE. */
    public static void main(String[] words) {
        Map<String, List<String>> event = new TreeMap<>();
        for (int i = 0; i + 1 < words.length; i += 2) {
            event.computeIfAbsent(words[i], k -> new ArrayList<>()).add(words[i + 1]);
        }
        run(event).forEach((kind, names) -> names.forEach((name, what) -> System.out.println(kind + "\t" + name + "\t" + what)));
    }
}
