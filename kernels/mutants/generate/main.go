// Generate builds the PTX of every mutant with clang-19 and writes the archive of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"sync"

	"kvcompress/kernels/mutants"
)

func main() {
	log.SetFlags(0)
	if err := generate(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func generate(ctx context.Context) error {
	all := mutants.All()
	archive, old := mutants.Archive{}, mutants.Archive{}
	if had, err := mutants.ReadArchive(mutants.ArchiveFile); err == nil { // what is up to date is not built again
		old = had
	}
	var errs error
	var mu sync.Mutex
	var wait sync.WaitGroup
	slots := make(chan struct{}, runtime.NumCPU())
	for i := range all {
		wait.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			digest, text, err := build(ctx, &all[i], old)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = errors.Join(errs, fmt.Errorf("%s: %w", all[i].Name, err))
				return
			}
			archive[digest] = text
		})
	}
	wait.Wait()
	if errs != nil {
		return errs
	}
	file, err := archive.Bytes()
	if err != nil {
		return err
	}
	return os.WriteFile(mutants.ArchiveFile, file, 0o644)
}

// build returns the PTX of a mutant and the digest of its source.
func build(ctx context.Context, m *mutants.Mutant, old mutants.Archive) (string, []byte, error) {
	source, err := m.Source(os.DirFS("../cu"))
	if err != nil {
		return "", nil, err
	}
	digest := source.Digest()
	if text, ok := old[digest]; ok {
		return digest, text, nil
	}
	text, err := source.Build(ctx)
	return digest, text, err
}
