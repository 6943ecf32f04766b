// Command bench measures Sallyport beside CNCF distribution and beside floors:
// bare programs that do the least each job needs. All run on this machine, one
// after the other, over the same work; the figures that matter are server CPU
// per operation and ratios, as medians of interleaved runs.
//
//	bench -sallyport bin/sallyport -registry .tools/bin/registry [-runs 5] [-only name]
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "floor" {
		floor(os.Args[2], os.Args[3])
		return
	}
	b := &bench{}
	flag.StringVar(&b.sallyport, "sallyport", "bin/sallyport", "the binary to measure")
	flag.StringVar(&b.registry, "registry", ".tools/bin/registry", "CNCF distribution's binary")
	flag.IntVar(&b.runs, "runs", 5, "interleaved runs; medians are printed")
	only := flag.String("only", "", "run the workloads whose names contain this")
	flag.Parse()
	if err := b.main(*only); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

type bench struct {
	sallyport, registry string
	runs                int
	dir                 string
	ours                *process
	floor               *process
	dist                *process // without login
	distLogin           *process // htpasswd
	in                  *inputs
}

func (b *bench) main(only string) error {
	var err error
	if b.dir, err = os.MkdirTemp("", "sallyport-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	defer b.stop()
	if err := b.start(); err != nil {
		return err
	}
	if b.in, err = b.fill(); err != nil {
		return err
	}
	for _, w := range b.workloads() {
		if strings.Contains(w.name, only) {
			if err := b.compare(w); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, f := range []struct {
		name string
		run  func() error
	}{{"logins", b.logins}, {"flood", b.flood}, {"federation", b.federation}, {"decisions", b.decisions}, {"revoke", b.revoke}, {"lists", b.lists}, {"helper", b.helper}, {"footprint", b.footprint}} {
		if strings.Contains(f.name, only) {
			if err := f.run(); err != nil {
				return fmt.Errorf("%s: %w", f.name, err)
			}
		}
	}
	return nil
}
