/*
 * What a JVM cannot do to its own process and a blank has to: change the working
 * directory, and replace the environment that native code sees (environ(7)).
 * It needs no library by name: the symbols are those of the C library that the
 * JVM itself has loaded.
 */
#include <jni.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* pairs holds name and value in turn, each with a zero byte at its end. */
JNIEXPORT jboolean JNICALL Java_lambent_runtime_Native_enter(JNIEnv *jni, jclass self, jbyteArray dir, jobjectArray pairs) {
    (void)self;
    jbyte *path = (*jni)->GetByteArrayElements(jni, dir, NULL);
    if (path == NULL) {
        return JNI_FALSE;
    }
    int ok = chdir((const char *)path) == 0 && clearenv() == 0;
    (*jni)->ReleaseByteArrayElements(jni, dir, path, JNI_ABORT);
    jsize n = (*jni)->GetArrayLength(jni, pairs);
    for (jsize i = 0; ok && i + 1 < n; i += 2) {
        jbyteArray one = (*jni)->GetObjectArrayElement(jni, pairs, i);
        jbyteArray two = (*jni)->GetObjectArrayElement(jni, pairs, i + 1);
        jbyte *name = (*jni)->GetByteArrayElements(jni, one, NULL);
        jbyte *value = (*jni)->GetByteArrayElements(jni, two, NULL);
        ok = name != NULL && value != NULL && setenv((const char *)name, (const char *)value, 1) == 0;
        (*jni)->ReleaseByteArrayElements(jni, one, name, JNI_ABORT);
        (*jni)->ReleaseByteArrayElements(jni, two, value, JNI_ABORT);
        (*jni)->DeleteLocalRef(jni, one);
        (*jni)->DeleteLocalRef(jni, two);
    }
    tzset();
    return ok ? JNI_TRUE : JNI_FALSE;
}
