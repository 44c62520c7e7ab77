package ptx

import "testing"

// The kernels of testdata/nvcc are compiled by NVRTC, which is nvcc's compiler:
//
//	reduce      12.4.127  --gpu-architecture=compute_90 -lineinfo -fmad=false
//	sort        11.8.89   --gpu-architecture=compute_80 -lineinfo
//	ints        11.8.89   --gpu-architecture=compute_80 -lineinfo -fmad=false
//	paged       12.4.127  --gpu-architecture=compute_80 -lineinfo
//	misc        12.4.127  --gpu-architecture=compute_90 -lineinfo
//	half        12.4.127  --gpu-architecture=compute_80 -lineinfo
//
// Only the directories in .file were removed.

// TestNVCC runs PTX from NVIDIA's compiler under all checks, in several orders, and compares with Go.
func TestNVCC(t *testing.T) {
	for _, c := range nvccCases() {
		t.Run(c.entry, func(t *testing.T) {
			c.test(t)
		})
	}
}
