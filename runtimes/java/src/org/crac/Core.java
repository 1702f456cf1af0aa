package org.crac;

import java.lang.ref.WeakReference;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** The coordination of resources. As on AWS, only the platform makes checkpoints. */
public final class Core {
    private static final Context<Resource> GLOBAL = new Registered();

    private Core() {}

    public static Context<Resource> getGlobalContext() {
        return GLOBAL;
    }

    public static void checkpointRestore() throws CheckpointException, RestoreException {
        throw new UnsupportedOperationException("checkpoints are the platform's");
    }

    /** Does not keep a resource alive: as with the original, its owner must. */
    private static final class Registered extends Context<Resource> {
        private final List<WeakReference<Resource>> resources = new ArrayList<>();

        @Override
        public synchronized void register(Resource resource) {
            resources.add(new WeakReference<>(resource));
        }

        private synchronized List<Resource> alive() {
            List<Resource> out = new ArrayList<>();
            for (WeakReference<Resource> r : resources) {
                Resource resource = r.get();
                if (resource != null) {
                    out.add(resource);
                }
            }
            return out;
        }

        @Override
        public void beforeCheckpoint(Context<? extends Resource> context) throws CheckpointException {
            List<Resource> order = alive();
            Collections.reverse(order); // the last that was set up is the first to be told
            CheckpointException failed = null;
            for (Resource r : order) {
                try {
                    r.beforeCheckpoint(this);
                } catch (Exception e) {
                    failed = failed == null ? new CheckpointException() : failed;
                    failed.addSuppressed(e);
                }
            }
            if (failed != null) {
                throw failed;
            }
        }

        @Override
        public void afterRestore(Context<? extends Resource> context) throws RestoreException {
            RestoreException failed = null;
            for (Resource r : alive()) {
                try {
                    r.afterRestore(this);
                } catch (Exception e) {
                    failed = failed == null ? new RestoreException() : failed;
                    failed.addSuppressed(e);
                }
            }
            if (failed != null) {
                throw failed;
            }
        }
    }
}
