package cost

import (
	"testing"

	"kvcompress/internal/testgc"
)

func TestMain(m *testing.M) { testgc.Main(m) }
