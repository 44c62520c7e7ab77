package invoke

import (
	"errors"
	"fmt"
	"strings"

	"kvcompress/kernels/ptx"
	"kvcompress/safetensors"
)

// Which arguments match a parameter. Compilers declare integers of either sign, pointers, and sometimes all
// scalars, as untyped bits or as unsigned. So the sign does not matter, and untyped bits match anything of
// the same size.

// scalarTypes maps the names of scalar types to PTX types.
var scalarTypes = map[string]safetensors.DType{
	"i8": safetensors.I8, "i16": safetensors.I16, "i32": safetensors.I32, "i64": safetensors.I64,
	"s8": safetensors.I8, "s16": safetensors.I16, "s32": safetensors.I32, "s64": safetensors.I64,
	"u8": safetensors.U8, "u16": safetensors.U16, "u32": safetensors.U32, "u64": safetensors.U64,
	"b8": safetensors.U8, "b16": safetensors.U16, "b32": safetensors.U32, "b64": safetensors.U64,
	"f16": safetensors.F16, "bf16": safetensors.BF16, "f32": safetensors.F32, "f64": safetensors.F64,
	"fp8_e4m3": safetensors.F8E4M3, "fp8_e5m2": safetensors.F8E5M2,
	"ptr": safetensors.U64,
}

// ptxBits returns the bits of an element of a parameter's type, such as ".u32".
func ptxBits(typ string) int {
	bits := 0
	for _, c := range strings.TrimLeft(typ, ".abcdefghijklmnopqrstuvwxyz") {
		if c < '0' || c > '9' || bits > 1<<10 {
			break // .f16x2
		}
		bits = 10*bits + int(c-'0')
	}
	return bits
}

// matchAll returns an error if the arguments do not match the parameters.
func matchAll(args []Arg, params []ptx.Param) error {
	if len(args) != len(params) {
		var list []string
		for _, p := range params {
			list = append(list, describeParam(p))
		}
		return fmt.Errorf("%d arguments, and the kernel has %d parameters (%s)", len(args), len(params), strings.Join(list, ", "))
	}
	for i, a := range args {
		if err := a.match(params[i]); err != nil {
			return fmt.Errorf("argument %q for parameter %d, %s: %w", a.text, i, params[i].Name, err)
		}
	}
	return nil
}

func describeParam(p ptx.Param) string {
	if p.Count != 1 {
		return fmt.Sprintf("%s[%d]", p.Type, p.Count)
	}
	return p.Type
}

// match returns an error if the argument does not match the parameter.
func (a *Arg) match(p ptx.Param) error {
	bits := ptxBits(p.Type)
	size := bits / 8 * p.Count
	if a.value != nil {
		if n := a.value.size(); n > size || a.value.file != "" && n != size {
			return fmt.Errorf("it has %d bytes, and the parameter %d", n, size)
		}
		return nil
	}
	have := a.bits()
	if p.Count != 1 { // a struct, such as __half
		if have != 8*size {
			return fmt.Errorf("the parameter is a struct of %d bytes: give it by struct=", size)
		}
		return nil
	}
	if have != bits {
		return fmt.Errorf("it has %d bits, and a %s has %d", have, p.Type, bits)
	}
	class := strings.TrimPrefix(p.Type, ".")
	switch {
	case class[0] == 'b' && !strings.HasPrefix(class, "bf"), a.kind[0] == 'b' && a.kind != "bf16" && a.named == nil:
		return nil // untyped bits
	case class[0] == 'f' || strings.HasPrefix(class, "bf"):
		if class != a.kind {
			return fmt.Errorf("the parameter is a %s", p.Type)
		}
	case a.isFloat():
		return fmt.Errorf("the parameter is a %s", p.Type)
	}
	return nil
}

// bits returns the size of a scalar or an address in bits.
func (a *Arg) bits() int {
	if t, ok := scalarTypes[a.kind]; ok && a.buffer == nil && a.named == nil {
		return t.Bits()
	}
	return 64
}

func (a *Arg) isFloat() bool {
	t, ok := scalarTypes[a.kind]
	if !ok || a.buffer != nil {
		return false
	}
	_, float := t.Float()
	return float && t.Bits() > 8 || t == safetensors.F64
}

// errNotCooperative is the error of a device without cooperative launches.
var errNotCooperative = errors.New("the device has no cooperative launches: the PTX machine has (--device ptx)")

// errNoStructs is the error of a device that cannot launch with structs.
var errNoStructs = errors.New("the device takes no structs by value")
