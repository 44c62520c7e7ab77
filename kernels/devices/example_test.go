package devices_test

import (
	"fmt"
	"log"

	"kvcompress/kernels/devices"
	"kvcompress/kernels/ptx"
)

// Every build can execute PTX on the CPU. With [devices.Auto], a build for GPUs uses a GPU if there is one.
func ExampleOpen() {
	dev, err := devices.Open(devices.PTX, ptx.Options{Checks: ptx.AllChecks()})
	if err != nil {
		log.Fatal(err)
	}
	defer dev.Close()
	fmt.Println(dev.Name())
	// Output:
	// PTX on the CPU
}
