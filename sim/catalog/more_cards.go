package catalog

// workstationCards returns the cards of workstations and desktops, taken to have no
// NVLink bridges.
func workstationCards() []Card {
	const pcie4, pcie5 = 32e9, 64e9
	return []Card{
		{Name: "rtx-3090", Aliases: []string{"NVIDIA GeForce RTX 3090", "3090"}, Memory: gib(23.58), Read: 936e9, Flops16: 71e12, Flops8: 284e12, Only8: INT8, Link: throughHost, Host: pcie4,
			Source: "NVIDIA Ampere GA102 white paper (f32 sums; 8 bits: int8); memory: vllm-project/vllm issue 10517"},
		{Name: "rtx-4090", Aliases: []string{"NVIDIA GeForce RTX 4090", "4090"}, Memory: 25_250_627_584, Read: 1008e9, Flops16: 165.2e12, Flops8: 330.3e12, Link: throughHost, Host: pcie4,
			Source: "NVIDIA Ada GPU architecture white paper (f32 sums); memory: casys-kaist/LLMServingSim bench"},
		{Name: "rtx-5090", Aliases: []string{"NVIDIA GeForce RTX 5090", "5090"}, Memory: gib(31.37), Read: 1792e9, Flops16: 209.5e12, Flops8: 419e12, Only8: FP8, Flops4: 1676e12, Link: throughHost, Host: pcie5,
			Source: "NVIDIA RTX Blackwell GPU architecture white paper (f32 sums); memory: vllm-project/vllm issue 14452"},
		{Name: "rtx-a6000", Aliases: []string{"NVIDIA RTX A6000", "a6000"}, Memory: gib(47.54), Read: 768e9, Flops16: 154.8e12, Flops8: 309.7e12, Only8: INT8, Link: throughHost, Host: pcie4,
			Source: "NVIDIA Ampere GA102 white paper (8 bits: int8); memory: as recorded beside the block counts of vllm-project/vllm pull request 4454"},
		{Name: "rtx-6000-ada", Aliases: []string{"NVIDIA RTX 6000 Ada Generation", "6000-ada"}, Memory: gib(44.43), Read: 960e9, Flops16: 364.2e12, Flops8: 728.5e12, Link: throughHost, Host: pcie4,
			Source: "NVIDIA Ada GPU architecture white paper; memory: DINGYANB/MTVCrafter issue 21, with error correction"},
		{Name: "rtx-pro-6000", Aliases: []string{"NVIDIA RTX PRO 6000 Blackwell", "NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "NVIDIA RTX PRO 6000 Blackwell Server Edition"}, Memory: gib(94.97), Read: 1792e9, Flops16: 503.8e12, Flops8: 1007.6e12, Only8: FP8, Flops4: 2015.2e12, Link: throughHost, Host: pcie5,
			Source: "NVIDIA RTX Blackwell PRO GPU architecture white paper; memory: what PyTorch prints where it runs out"},
	}
}
