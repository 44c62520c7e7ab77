package ptx

// Kernel describes an entry point.
type Kernel struct {
	Name   string  `json:"name"`
	Params []Param `json:"params"`

	Instructions int    `json:"instructions"` // including those of the functions it calls
	Registers    int    `json:"registers"`    // used by the code; a GPU needs fewer
	Shared       int    `json:"shared"`       // bytes of static shared memory that the code uses
	Local        int    `json:"local"`        // bytes of local memory per thread that the code uses
	Block        [3]int `json:"block"`        // required block size (.reqntid); 0 if any
	MostThreads  int    `json:"most_threads"` // threads per block at most (.maxntid); 0 if not stated

	// Refused is why the kernel cannot be run, with the line; "" if it can. If it is set, the fields about
	// the code are 0.
	Refused string `json:"refused,omitempty"`
	// Cooperative reports whether it needs a cooperative launch: it reads the address of its grid's
	// workspace, as cooperative groups do to synchronize the grid.
	Cooperative bool `json:"cooperative,omitempty"`
	// Approximate reports whether it has instructions whose result may differ on a GPU.
	Approximate bool `json:"approximate,omitempty"`
}

// Param is a parameter of a kernel.
type Param struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // of one element: ".u64"
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

// Kernels describes the kernels of the module, as Program.Kernels does.
func (m *loadedModule) Kernels() []Kernel { return m.program.Kernels() }
