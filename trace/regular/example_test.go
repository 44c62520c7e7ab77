package regular_test

import (
	"errors"
	"fmt"
	"os"

	"kvcompress/trace/regular"
)

// A directory, a pipe or a device instead of a file is an error, and does not block.
func ExampleReadFile() {
	_, err := regular.ReadFile(os.TempDir(), 1<<20) // 1 MiB at most
	fmt.Println(errors.Is(err, regular.ErrNotRegular))
	// Output:
	// true
}
