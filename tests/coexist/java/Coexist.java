// SPDX-License-Identifier: Apache-2.0
//
// java Coexist ENTRIES: threads that call an enclave by JNI while Java code takes exceptions of its own, all of
// which begin as a signal: null dereferences (SIGSEGV), divisions by zero (SIGFPE), stack overflows (SIGSEGV in
// the guard pages), and the safepoint polls of a busy garbage collector. Each must end in its own catch clause.
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

public final class Coexist {
    private static native long sum(long a, long b);
    private static native int fault(int kind);
    private static native long entries();
    private static native long exceptions();

    private static final int THREADS = 4;
    private static final int KINDS = 4;
    private static final AtomicLong nulls = new AtomicLong();
    private static final AtomicLong divisions = new AtomicLong();
    private static final AtomicLong overflows = new AtomicLong();
    private static final AtomicLong faults = new AtomicLong();
    private static volatile boolean stop;
    private static volatile Object garbage;

    private static final class Node {
        int value = 7;
        Node next;
    }

    private static void check(boolean good, String what) {
        if (!good) {
            throw new AssertionError(what);
        }
    }

    private static int valueOf(Node node) {
        return node.value;
    }

    private static int divide(int a, int b) {
        return a / b;
    }

    private static int deep(int n) {
        return n == Integer.MIN_VALUE ? 0 : 1 + deep(n + 1);
    }

    private static void work(long rounds, int number) {
        final Node node = new Node();
        for (long i = 0; i < rounds; ++i) {
            check(sum(i, number) == i + number, "a wrong sum");
            check(valueOf(node) == 7, "a wrong value");
            if (i % 4 == 0) {
                final int vector = fault((int) (i / 4 % KINDS));
                check(vector >= 0, "a wrong vector");
                faults.incrementAndGet();
            }
            if (i % 4 == 1) {
                try {
                    check(valueOf(node.next) == 0, "null has a value");
                    check(false, "null was read");
                } catch (NullPointerException expected) {
                    nulls.incrementAndGet();
                }
            }
            if (i % 16 == 2) {
                try {
                    divide(1, number - number);
                    check(false, "a division by zero had a result");
                } catch (ArithmeticException expected) {
                    divisions.incrementAndGet();
                }
            }
            if (i % 4096 == 3) {
                try {
                    deep(0);
                    check(false, "the stack has no end");
                } catch (StackOverflowError expected) {
                    overflows.incrementAndGet();
                }
                garbage = new byte[1 << 16];
            }
        }
    }

    public static void main(String[] arguments) throws InterruptedException {
        System.load(arguments[0]);
        final long rounds = Long.parseLong(arguments[1]) / THREADS * 2 / 3;  // a fault is two entries
        final List<Throwable> failures = new ArrayList<>();
        final List<Thread> threads = new ArrayList<>();
        for (int n = 0; n < THREADS; ++n) {
            final int number = n;
            final Thread thread = new Thread(() -> work(rounds, number));
            thread.setUncaughtExceptionHandler((t, failure) -> {
                synchronized (failures) {
                    failures.add(failure);
                }
            });
            threads.add(thread);
        }
        final Thread collector = new Thread(() -> {
            while (!stop) {
                garbage = new byte[1 << 20];
                System.gc();
            }
        });
        collector.start();
        threads.forEach(Thread::start);
        for (final Thread thread : threads) {
            thread.join();
        }
        stop = true;
        collector.join();

        failures.forEach(Throwable::printStackTrace);
        final long of4 = (rounds + 3) / 4;
        boolean good = failures.isEmpty();
        good &= nulls.get() == THREADS * ((rounds + 2) / 4);
        good &= divisions.get() == THREADS * ((rounds + 13) / 16);
        good &= overflows.get() == THREADS * ((rounds + 4092) / 4096);
        good &= faults.get() == THREADS * of4 && exceptions() == faults.get();
        good &= entries() == THREADS * (rounds + 2 * of4);
        System.out.printf("%s: %d entries, %d exceptions of the enclave; of Java: %d nulls, %d divisions, "
            + "%d stack overflows%n", good ? "good" : "WRONG", entries(), exceptions(), nulls.get(),
            divisions.get(), overflows.get());
        System.exit(good ? 0 : 1);
    }
}
