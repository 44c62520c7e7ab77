package ptx

import "kvcompress/kernels/device"

// Forget makes a byte undefined.
func (d *Device) Forget(p device.Ptr) {
	a := d.mem.find(uint64(p))
	a.shadow.init.forgotten(int64(uint64(p)-a.base), 1)
}

// Defined reports whether a byte is defined.
func (d *Device) Defined(p device.Ptr) bool {
	a := d.mem.find(uint64(p))
	return a.shadow.init.unwritten(int64(uint64(p)-a.base), 1) < 0
}

// Bytes returns n bytes, defined or not.
func (d *Device) Bytes(p device.Ptr, n int) []byte {
	a := d.mem.find(uint64(p))
	return append([]byte(nil), a.mem[uint64(p)-a.base:][:n]...)
}

// Extent returns the size of an allocation.
func (d *Device) Extent(p device.Ptr) int { return int(d.mem.find(uint64(p)).size) }
