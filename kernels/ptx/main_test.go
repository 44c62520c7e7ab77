package ptx

import (
	"testing"

	"kvcompress/internal/testgc"
)

// parsed is shared by tests that load the same modules many times.
var parsed Cache

func TestMain(m *testing.M) { testgc.Main(m) }
