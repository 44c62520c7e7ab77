package ptx

// Kernel describes an entry point to whoever launches it.
type Kernel struct {
	Name   string  `json:"name"`
	Params []Param `json:"params"`

	Instructions int    `json:"instructions"` // of its code, with that of the functions that it calls
	Registers    int    `json:"registers"`    // that the code uses; a GPU takes fewer
	Shared       int    `json:"shared"`       // bytes of static shared memory that the code uses
	Local        int    `json:"local"`        // bytes of local memory of each thread, likewise
	Block        [3]int `json:"block"`        // the only one that it runs with (.reqntid); 0 where any will do
	MostThreads  int    `json:"most_threads"` // of a block (.maxntid); 0 where it does not say

	// Refused is why the kernel cannot be run, with the line; "" if it can be. Then what
	// its code uses is not known.
	Refused string `json:"refused,omitempty"`
	// Cooperative is whether it needs a cooperative launch: it reads where the workspace of
	// its grid is, as cooperative groups' grid sync does.
	Cooperative bool `json:"cooperative,omitempty"`
	// Approximate is whether it has instructions whose result a GPU may give otherwise.
	Approximate bool `json:"approximate,omitempty"`
}

// Param is a parameter of a kernel.
type Param struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // of an element: ".u64"
	Count int    `json:"count"`
}

// Kernels describes the kernels, in the order of the text.
func (p *Program) Kernels() []Kernel {
	list := make([]Kernel, 0, len(p.module.entries))
	for _, f := range p.module.entries {
		e := p.entries[f.name]
		k := Kernel{
			Name: f.name, Params: []Param{},
			Registers: len(e.regNames), Shared: e.shared, Local: e.local,
			Cooperative: e.readsWorkspace(), Block: f.reqntid, MostThreads: f.maxntid[0] * f.maxntid[1] * f.maxntid[2],
		}
		for _, v := range f.params {
			k.Params = append(k.Params, Param{v.name, v.elem.String(), int(v.count)})
		}
		if k.Approximate = e.approx; e.refused != nil {
			k.Refused = e.refused.Error()
		}
		for i := range e.code {
			if e.code[i].counted {
				k.Instructions++
			}
		}
		list = append(list, k)
	}
	return list
}

// Kernels describes the kernels of a module of this device, as Program.Kernels does.
func (m *loadedModule) Kernels() []Kernel { return m.program.Kernels() }
