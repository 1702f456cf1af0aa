package fn;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import java.io.File;
import java.io.FileOutputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;

/**
 * A function that does what its event says: {"do": "echo", ...}. The verbs are those of the other
 * languages beside this folder. Compile it against runtimes/java/bootstrap.jar.
 */
public class Main implements RequestHandler<Object, Object> {
    /** What "error" throws. */
    public static class Custom extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Custom(String message, Throwable cause) {
            super(message, cause);
        }
    }

    static {
        String wait = System.getenv("INIT_SLEEP");
        if (wait != null) {
            java.util.concurrent.locks.LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(Long.parseLong(wait)));
        }
    }

    private int counter;
    private final List<byte[]> kept = new ArrayList<>();

    @Override
    public Object handleRequest(Object event, Context context) {
        if (!(event instanceof Map) || !((Map<?, ?>) event).containsKey("do")) {
            return event;
        }
        try {
            return run((Map<?, ?>) event, context);
        } catch (IOException | InterruptedException e) {
            throw new Custom(e.toString(), e);
        }
    }

    private static long number(Map<?, ?> event, String name, long otherwise) {
        Object v = event.get(name);
        return v == null ? otherwise : ((Number) v).longValue();
    }

    private static String text(Map<?, ?> event, String name, String otherwise) {
        Object v = event.get(name);
        return v == null ? otherwise : v.toString();
    }

    private Object run(Map<?, ?> event, Context context) throws IOException, InterruptedException {
        switch (text(event, "do", "")) {
            case "echo":
                return event.get("value");
            case "error":
                throw new Custom(text(event, "message", "went wrong"), new IllegalStateException("the cause"));
            case "exit":
                System.exit((int) number(event, "code", 1));
                return null;
            case "crash":
                return crash();
            case "sleep":
                counter++;
                TimeUnit.SECONDS.sleep(number(event, "seconds", 3600));
                return "woke";
            case "spin":
                while (true) {
                    counter++;
                }
            case "oom":
                while (true) {
                    kept.add(new byte[8 << 20]);
                }
            case "big":
                char[] x = new char[(int) number(event, "bytes", 6 << 20)];
                Arrays.fill(x, 'x');
                return new String(x);
            case "size":
                return text(event, "value", "").length();
            case "count":
                return Map.of("count", ++counter, "pid", ProcessHandle.current().pid());
            case "env":
                return System.getenv();
            case "context":
                return context(context);
            case "where":
                return where();
            case "files":
                return files(event);
            case "fill_tmp":
                return fill(number(event, "limit", Long.MAX_VALUE));
            case "log":
                return log(number(event, "bytes", 100 << 20));
            case "say":
                return say(context, text(event, "value", "hello"));
            case "fork":
                return fork(event);
            case "unserialisable":
                return new Object();
            case "layer":
                return layer(text(event, "module", "layer.FromLayer"));
            case "background":
                return new ProcessBuilder("sleep", "3600").start().pid();
            case "run":
                return command((List<?>) event.get("command"));
            case "probe":
                return Probes.run(event);
            default:
                throw new Custom("no such verb: " + event, null);
        }
    }

    /** Writes to address 0. A signal would not do: the first process of a sandbox ignores it. */
    private static Object crash() {
        try {
            Class<?> unsafe = Class.forName("sun.misc.Unsafe");
            java.lang.reflect.Field f = unsafe.getDeclaredField("theUnsafe");
            f.setAccessible(true);
            unsafe.getMethod("putAddress", long.class, long.class).invoke(f.get(null), 0L, 0L);
            return "alive";
        } catch (ReflectiveOperationException e) {
            throw new Custom(e.toString(), e);
        }
    }

    private static Object context(Context c) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("aws_request_id", c.getAwsRequestId());
        out.put("function_name", c.getFunctionName());
        out.put("function_version", c.getFunctionVersion());
        out.put("invoked_function_arn", c.getInvokedFunctionArn());
        out.put("memory_limit_in_mb", c.getMemoryLimitInMB());
        out.put("log_group_name", c.getLogGroupName());
        out.put("log_stream_name", c.getLogStreamName());
        out.put("remaining", c.getRemainingTimeInMillis());
        out.put("custom", c.getClientContext() == null ? null : c.getClientContext().getCustom());
        out.put("title", c.getClientContext() == null || c.getClientContext().getClient() == null
                ? null : c.getClientContext().getClient().getAppTitle());
        out.put("identity", c.getIdentity().getIdentityId());
        out.put("trace", System.getProperty("com.amazonaws.xray.traceHeader"));
        return out;
    }

    private static Object where() {
        Map<String, Object> out = new TreeMap<>();
        out.put("cwd", new File(".").getAbsoluteFile().getParent());
        out.put("user", System.getProperty("user.name"));
        out.put("task", sorted(new File(".").list()));
        out.put("version", System.getProperty("java.version"));
        out.put("heap", Runtime.getRuntime().maxMemory());
        out.put("charset", java.nio.charset.Charset.defaultCharset().name());
        return out;
    }

    private static Object sorted(String[] names) {
        Arrays.sort(names);
        return names;
    }

    private static Object files(Map<?, ?> event) throws IOException {
        Path path = Path.of(text(event, "path", "/"));
        if (event.containsKey("write")) {
            Files.writeString(path, text(event, "write", ""));
            return text(event, "write", "").length();
        }
        return Files.isDirectory(path) ? sorted(path.toFile().list()) : Files.readString(path);
    }

    private static Object fill(long limit) throws IOException {
        File file = new File("/tmp/fill");
        byte[] block = new byte[1 << 20];
        long wrote = 0;
        try (FileOutputStream out = new FileOutputStream(file)) {
            for (; wrote < limit; wrote += block.length) {
                out.write(block);
            }
        } catch (IOException e) {
            return Map.of("wrote", wrote, "error", e.getMessage());
        } finally {
            Files.deleteIfExists(file.toPath());
        }
        return Map.of("wrote", wrote, "error", "");
    }

    private static Object log(long left) {
        char[] line = new char[100];
        Arrays.fill(line, 'y');
        line[99] = '\n';
        String lines = new String(line).repeat(1000);
        for (; left > 0; left -= 100000) {
            System.out.print(lines);
        }
        return "logged";
    }

    private static Object say(Context context, String text) {
        System.out.println("print " + text);
        System.err.println("stderr " + text);
        context.getLogger().log("logger " + text);
        context.getLogger().log("two\nlines");
        context.getLogger().log("debug " + text, LogLevel.DEBUG);
        context.getLogger().log("error " + text, LogLevel.ERROR);
        byte[] formatted = ("{\"mine\":\"" + text + "\"}\n").getBytes(StandardCharsets.UTF_8);
        context.getLogger().log(formatted, LogLevel.ERROR);
        return "said";
    }

    private static Object fork(Map<?, ?> event) {
        int children = 0;
        try {
            for (; children < number(event, "limit", 100000); children++) {
                new ProcessBuilder("sleep", Long.toString(number(event, "seconds", 3600))).start();
            }
        } catch (IOException e) {
            return Map.of("children", children, "error", e.getMessage());
        }
        return Map.of("children", children, "error", "");
    }

    private static Object layer(String name) {
        try {
            return Class.forName(name).getField("VALUE").get(null);
        } catch (ReflectiveOperationException e) {
            throw new Custom(e.toString(), e);
        }
    }

    private static Object command(List<?> words) throws IOException, InterruptedException {
        List<String> command = new ArrayList<>();
        add(command, words);
        Process p = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String out = new String(p.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        if (p.waitFor() != 0) {
            throw new Custom("exit status " + p.exitValue(), null);
        }
        return out;
    }

    private static void add(List<String> to, Object from) {
        if (from instanceof List) {
            for (Object v : (List<?>) from) {
                to.add(v.toString());
            }
        }
    }
}
