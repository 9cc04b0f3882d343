// SPDX-License-Identifier: Apache-2.0
//
// coexist_go ENTRIES: goroutines that call an enclave by cgo, while Go's runtime preempts them by signals,
// collects garbage, and turns null dereferences of Go code into panics.
package main

/*
#include "coexist/library.h"
*/
import "C"

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const goroutines = 32

type node struct {
	value int
	next  *node
}

var (
	panics atomic.Int64
	faults atomic.Int64
	wrong  atomic.Int64
	sink   atomic.Value
)

//go:noinline
func valueOf(n *node) int { return n.value }

// A null dereference of Go code: SIGSEGV, then a panic.
func readNull(n *node) (seen bool) {
	defer func() {
		if failure := recover(); failure != nil {
			_, seen = failure.(runtime.Error)
		}
	}()
	return valueOf(n.next) == 1
}

// Long enough without a call that only a signal (SIGURG) can preempt it.
//
//go:noinline
func spin(rounds int) int {
	sum := 0
	for i := 0; i < rounds; i++ {
		sum += i ^ sum
	}
	return sum
}

func work(number int, rounds int) {
	head := &node{value: 7}
	for i := 0; i < rounds; i++ {
		if uint64(C.coexist_sum(C.uint64_t(i), C.uint64_t(number))) != uint64(i+number) {
			wrong.Add(1)
		}
		if i%4 == 0 {
			C.coexist_fault(C.uint(i / 4))
			faults.Add(1)
		}
		if i%16 == 1 {
			if readNull(head) {
				panics.Add(1)
			}
		}
		if i%256 == 2 {
			sink.Store(make([]byte, 1<<16))
			spin(100000)
		}
	}
}

// The first thread is the one that the engine knew before Go's runtime did: one of the workers stays on it.
func init() { runtime.LockOSThread() }

func main() {
	entries, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	rounds := entries / goroutines * 2 / 3 // a fault is two entries
	stop := make(chan struct{})
	var collector, workers sync.WaitGroup
	collector.Add(1)
	go func() {
		defer collector.Done()
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for n := 1; n < goroutines; n++ {
		workers.Add(1)
		go func(number int) {
			defer workers.Done()
			work(number, rounds)
		}(n)
	}
	work(0, rounds)
	workers.Wait()
	close(stop)
	collector.Wait()

	ofFour, ofSixteen := int64((rounds+3)/4), int64((rounds+14)/16)
	good := wrong.Load() == 0 && faults.Load() == goroutines*ofFour && panics.Load() == goroutines*ofSixteen &&
		int64(C.coexist_exceptions()) == faults.Load() &&
		int64(C.coexist_entries()) == goroutines*(int64(rounds)+2*ofFour)
	fmt.Printf("%d entries, %d exceptions of the enclave; of Go: %d panics\n", int64(C.coexist_entries()),
		int64(C.coexist_exceptions()), panics.Load())
	if !good {
		fmt.Println("the numbers are wrong")
		os.Exit(1)
	}
	fmt.Println("good")
}
