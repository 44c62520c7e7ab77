//go:build cuda

package cuda

/*
// The driver's functions are undefined symbols in the binary. They are resolved at their first call, in the
// library that cuInit has opened.
#cgo LDFLAGS: -ldl -Wl,--unresolved-symbols=ignore-in-object-files -Wl,--export-dynamic

#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>

static char failure[256]; // why there is no driver; "" if there is one

static void fail(const char *why) { snprintf(failure, sizeof failure, "%s", why); }

// cuInit hides the driver's function of this name, and calls it. Package cu calls cuInit
// when the program starts, and exits if it fails. So this one always succeeds and stores
// the error, which Open returns.
__attribute__((visibility("hidden")))
CUresult cuInit(unsigned int flags) {
	void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_GLOBAL);
	if (driver == NULL) {
		fail(dlerror());
		return CUDA_SUCCESS;
	}
	CUresult (*init)(unsigned int) = (CUresult (*)(unsigned int))dlsym(driver, "cuInit");
	CUresult (*message)(CUresult, const char **) = (CUresult (*)(CUresult, const char **))dlsym(driver, "cuGetErrorString");
	if (init == NULL || message == NULL) {
		fail("libcuda.so.1 has no cuInit or no cuGetErrorString");
		return CUDA_SUCCESS;
	}
	CUresult result = init(flags);
	if (result != CUDA_SUCCESS) {
		const char *why;
		fail(message(result, &why) == CUDA_SUCCESS ? why : "unknown error");
	}
	return CUDA_SUCCESS;
}

static const char *driverFailure(void) { return failure; }

static CUresult allowShared(void *f, int bytes) {
	return cuFuncSetAttribute((CUfunction)f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, bytes);
}
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"unsafe"

	"gorgonia.org/cu"
)

// driver returns an error if there is no working driver.
func driver() error {
	if why := C.GoString(C.driverFailure()); why != "" {
		return errors.New("cuda: cuInit: " + why)
	}
	return nil
}

// allowShared sets the limit of a kernel's dynamic shared memory, which is required above 48 KiB. Package cu
// has no call for it; its Function is the driver's handle.
func allowShared(f cu.Function, bytes int) error {
	if r := C.allowShared(*(*unsafe.Pointer)(unsafe.Pointer(&f)), C.int(bytes)); r != C.CUDA_SUCCESS {
		return fmt.Errorf("error %d", int(r))
	}
	return nil
}

var kernelModule = regexp.MustCompile(`Kernel Module.*?\s(\d+\.[\d.]+)\s`)

// driverVersion returns the driver's version, "580.95.05", or only its CUDA version if the driver does not
// say more.
func driverVersion() string {
	text, err := os.ReadFile("/proc/driver/nvidia/version")
	if found := kernelModule.FindSubmatch(text); err == nil && found != nil {
		return "driver " + string(found[1])
	}
	v := cu.Version()
	return fmt.Sprintf("a driver of CUDA %d.%d", v/1000, v%1000/10)
}
