/* SPDX-License-Identifier: Apache-2.0 */
#include <jni.h>

#include "coexist/library.h"

JNIEXPORT jlong JNICALL Java_Coexist_sum(JNIEnv* environment, jclass class, jlong a, jlong b) {
  (void)environment, (void)class;
  return (jlong)coexist_sum((uint64_t)a, (uint64_t)b);
}

JNIEXPORT jint JNICALL Java_Coexist_fault(JNIEnv* environment, jclass class, jint kind) {
  (void)environment, (void)class;
  return coexist_fault((unsigned)kind);
}

JNIEXPORT jlong JNICALL Java_Coexist_entries(JNIEnv* environment, jclass class) {
  (void)environment, (void)class;
  return (jlong)coexist_entries();
}

JNIEXPORT jlong JNICALL Java_Coexist_exceptions(JNIEnv* environment, jclass class) {
  (void)environment, (void)class;
  return (jlong)coexist_exceptions();
}
