package fn;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;
import org.crac.Core;
import org.crac.Resource;

/** Tells what a function sees of its process that it could not have made itself. */
public class Place implements RequestHandler<Map<String, Object>, Map<String, Object>> {
    private final List<String> hooks = new ArrayList<>();
    private final Resource first = new Hook("a");
    private final Resource second = new Hook("b");

    public Place() {
        Core.getGlobalContext().register(first);
        Core.getGlobalContext().register(second);
    }

    private final class Hook implements Resource {
        private final String name;

        Hook(String name) {
            this.name = name;
        }

        @Override
        public void beforeCheckpoint(org.crac.Context<? extends Resource> context) {
            hooks.add("before " + name);
        }

        @Override
        public void afterRestore(org.crac.Context<? extends Resource> context) {
            hooks.add("after " + name);
        }
    }

    @Override
    public Map<String, Object> handleRequest(Map<String, Object> event, Context context) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("mine", System.getenv("MINE"));
        out.put("lambent", System.getenv("LAMBENT"));
        out.put("hidden", System.getenv().keySet().stream().filter(n -> n.startsWith("LAMBENT_")).toList());
        out.put("zone", TimeZone.getDefault().getID());
        out.put("trace", System.getProperty("com.amazonaws.xray.traceHeader"));
        out.put("exists", new File("fn/Place.class").exists()); // relative to the function's folder
        out.put("classpath", System.getProperty("java.class.path").endsWith("/bootstrap.jar"));
        out.put("hooks", hooks);
        try {
            Process p = new ProcessBuilder("sh", "-c", "printf %s \"$MINE\"; ls fn >&2").redirectError(ProcessBuilder.Redirect.DISCARD).start();
            out.put("child", new String(p.getInputStream().readAllBytes(), StandardCharsets.UTF_8));
            out.put("here", p.waitFor() == 0 && Files.isSameFile(Path.of("fn"), Path.of(System.getenv("LAMBDA_TASK_ROOT"), "fn")));
            int sockets = 0;
            for (File f : new File("/proc/self/fd").listFiles()) {
                if (Files.isSymbolicLink(f.toPath()) && Files.readSymbolicLink(f.toPath()).toString().startsWith("socket:")) {
                    sockets++;
                }
            }
            out.put("sockets", sockets);
        } catch (IOException | InterruptedException e) {
            throw new IllegalStateException(e);
        }
        List<String> threads = new ArrayList<>();
        for (Thread t : Thread.getAllStackTraces().keySet()) {
            if (!t.isDaemon() && t != Thread.currentThread()) {
                threads.add(t.getName());
            }
        }
        out.put("threads", threads);
        return out;
    }
}
