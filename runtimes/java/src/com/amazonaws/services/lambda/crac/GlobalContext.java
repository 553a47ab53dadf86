package com.amazonaws.services.lambda.crac;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** The one context that there is. */
final class GlobalContext extends Context<Resource> {
    private final List<Resource> resources = new ArrayList<>();

    @Override
    public synchronized void register(Resource resource) {
        resources.removeIf(known -> known == resource);
        resources.add(resource);
    }

    private synchronized List<Resource> all() {
        return new ArrayList<>(resources);
    }

    @Override
    public void beforeCheckpoint(Context<? extends Resource> context) throws CheckpointException {
        List<Resource> order = all();
        Collections.reverse(order);
        CheckpointException failure = new CheckpointException();
        for (Resource resource : order) {
            try {
                resource.beforeCheckpoint(this);
            } catch (CheckpointException several) {
                takeOver(several, failure);
            } catch (Exception one) {
                failure.addSuppressed(one);
            }
        }
        if (failure.getSuppressed().length > 0) {
            throw failure;
        }
    }

    @Override
    public void afterRestore(Context<? extends Resource> context) throws RestoreException {
        RestoreException failure = new RestoreException();
        for (Resource resource : all()) {
            try {
                resource.afterRestore(this);
            } catch (RestoreException several) {
                takeOver(several, failure);
            } catch (Exception one) {
                failure.addSuppressed(one);
            }
        }
        if (failure.getSuppressed().length > 0) {
            throw failure;
        }
    }

    /** What it gathered; itself if it has gathered nothing. */
    private static void takeOver(Exception several, Exception failure) {
        Throwable[] gathered = several.getSuppressed();
        for (Throwable one : gathered.length > 0 ? gathered : new Throwable[] {several}) {
            failure.addSuppressed(one);
        }
    }
}
