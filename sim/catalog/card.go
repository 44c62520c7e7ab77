package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Card is a GPU.
type Card struct {
	Name     string   `json:"name"`
	Aliases  []string `json:"aliases,omitempty"`
	Memory   int64    `json:"memory_bytes"`          // total that CUDA reports, somewhat less than the nominal size
	Read     float64  `json:"bytes_per_second"`      // of its memory, at the peak
	Flops16  float64  `json:"flops_16bit"`           // of tensor cores, dense, f16 or bf16 with f32 sums
	Flops8   float64  `json:"flops_8bit"`            // likewise for fp8 and int8; 0: such weights are unpacked to 16 bits
	Only8    Weights  `json:"only_8bit,omitempty"`   // the format of 8 bits, fp8 or int8, that servers have kernels for; "": both
	Flops4   float64  `json:"flops_4bit"`            // likewise for nvfp4; 0: it is unpacked
	FlopsMX  float64  `json:"flops_mxfp4"`           // likewise for weights in mxfp4 with activations in 8 bits, of experts; 0: they are unpacked
	Link     float64  `json:"link_bytes_per_sec"`    // one way, to the other cards of a tensor-parallel group
	Linked   int      `json:"linked_cards"`          // number of cards that the link connects; 0 is 8
	Network  float64  `json:"network_bytes_per_sec"` // one way, of each card, to cards that the link does not connect; 0 is unknown
	Host     float64  `json:"host_bytes_per_sec"`    // one way, to the host's memory; 0 is unknown
	PriceUSD float64  `json:"usd_per_hour"`          // 0 is unknown
	Source   string   `json:"source,omitempty"`
}

// is reports whether wanted is the key of one of the card's names.
func (c *Card) is(wanted string) bool {
	return key(c.Name) == wanted || slices.ContainsFunc(c.Aliases, func(a string) bool { return key(a) == wanted })
}

// LinkOf returns the bytes per second, one way, between the cards of a group: those of the link or, if
// it connects fewer cards, of the network; 0 is unknown.
func (c *Card) LinkOf(cards int) float64 {
	if cards > cmp.Or(c.Linked, 8) {
		return c.Network
	}
	return c.Link
}

// maxCardName bounds the name of a card, in characters.
const maxCardName = 64

// Validate returns every error of the card, joined.
func (c *Card) Validate() error {
	var errs []error
	if n := utf8.RuneCountInString(c.Name); n < 1 || n > maxCardName || strings.TrimSpace(c.Name) != c.Name || strings.ContainsFunc(c.Name, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		errs = append(errs, fmt.Errorf("card: name is %.80q, want 1 to %d printable characters, without spaces around them", c.Name, maxCardName))
	}
	if c.Memory < 1<<28 || c.Memory > 1<<42 {
		errs = append(errs, fmt.Errorf("card: memory_bytes is %d, want 2^28 (256 MiB) to 2^42 (4 TiB)", c.Memory))
	}
	within := func(name string, v, low, high float64) {
		if math.IsNaN(v) || v < low || v > high {
			errs = append(errs, fmt.Errorf("card: %s is %v, want %g to %g", name, v, low, high))
		}
	}
	within("bytes_per_second", c.Read, 1e9, 1e15)
	within("flops_16bit", c.Flops16, 1e10, 1e18)
	if c.Flops8 != 0 {
		within("flops_8bit", c.Flops8, 1e10, 1e18)
	}
	if c.Only8 != "" && (c.Flops8 == 0 || c.Only8 != FP8 && c.Only8 != INT8) {
		errs = append(errs, fmt.Errorf("card: only_8bit is %.40q with a flops_8bit of %v, want fp8 or int8, and a peak for it", c.Only8, c.Flops8))
	}
	for _, o := range []struct {
		name string
		v    float64
		low  float64
		high float64
	}{
		{"flops_4bit", c.Flops4, 1e10, 1e18}, {"flops_mxfp4", c.FlopsMX, 1e10, 1e18}, {"link_bytes_per_sec", c.Link, 1e8, 1e14},
		{"network_bytes_per_sec", c.Network, 1e8, 1e14}, {"host_bytes_per_sec", c.Host, 1e8, 1e14},
	} {
		if o.v != 0 {
			within(o.name, o.v, o.low, o.high)
		}
	}
	if c.Linked < 0 || c.Linked > 1<<12 {
		errs = append(errs, fmt.Errorf("card: linked_cards is %d, want 1 to %d, or 0 for 8", c.Linked, 1<<12))
	}
	within("usd_per_hour", c.PriceUSD, 0, 1e4)
	return errors.Join(errs...)
}

// throughHost is the link, in bytes per second, of cards without NVLink. What one card sends another goes
// through the host's memory, unless the machine lets cards read each other's memory over PCIe. The figure
// is the one that NCCL assumes for cards of an AMD host (AMD_BW in src/graph/topo.h, up to NCCL 2.28).
const throughHost = 16e9

// ThroughHost reports whether the cards of a tensor-parallel group send each other's data through the
// host, which is slower than their own links to it.
func (c *Card) ThroughHost() bool { return c.Link > 0 && c.Link < c.Host }

func gib(n float64) int64 { return int64(n * (1 << 30)) }

// Cards returns the cards that are known by name, in the order in which they are listed. Bandwidth and
// peaks are from NVIDIA's data sheets and white papers: dense, with f32 sums. Memory is the total that
// CUDA reports, as PyTorch prints it when memory runs out, or if no such report was found, as
// nvidia-smi shows it. The network is that of NVIDIA's DGX with the card, which has a host channel
// adapter for each card; the host's link is PCIe with 16 lanes. The link of cards without NVLink is
// throughHost.
func Cards() []Card {
	const (
		pcie4 = 32e9
		pcie5 = 64e9
		pcie6 = 128e9
	)
	return append([]Card{
		{Name: "l4", Aliases: []string{"NVIDIA L4"}, Memory: gib(22.03), Read: 300e9, Flops16: 121e12, Flops8: 242e12, Link: throughHost, Host: pcie4,
			Source: "NVIDIA L4 data sheet; memory: ArcInstitute/evo2 issue 190"},
		{Name: "a10", Aliases: []string{"NVIDIA A10", "NVIDIA A10G", "a10g"}, Memory: gib(21.99), Read: 600e9, Flops16: 125e12, Flops8: 250e12, Only8: INT8, Link: throughHost, Host: pcie4,
			Source: "NVIDIA A10 data sheet (8 bits: int8); memory: CogVLM issue 236"},
		{Name: "a100-40gb", Aliases: []string{"NVIDIA A100 40GB", "a100-40"}, Memory: gib(39.49), Read: 1555e9, Flops16: 312e12, Flops8: 624e12, Only8: INT8, Link: 300e9, Network: 25e9, Host: pcie4,
			Source: "NVIDIA A100 data sheet (8 bits: int8), SXM"},
		{Name: "a100-80gb", Aliases: []string{"NVIDIA A100 80GB", "a100-80", "a100"}, Memory: gib(79.15), Read: 2039e9, Flops16: 312e12, Flops8: 624e12, Only8: INT8, Link: 300e9, Network: 25e9, Host: pcie4,
			Source: "NVIDIA A100 data sheet (8 bits: int8), SXM"},
		{Name: "a40", Aliases: []string{"NVIDIA A40"}, Memory: gib(44.35), Read: 696e9, Flops16: 149.7e12, Flops8: 299.3e12, Only8: INT8, Link: throughHost, Host: pcie4,
			Source: "NVIDIA A40 data sheet (8 bits: int8)"},
		{Name: "l40s", Aliases: []string{"NVIDIA L40S"}, Memory: gib(44.40), Read: 864e9, Flops16: 362e12, Flops8: 733e12, Link: throughHost, Host: pcie4,
			Source: "NVIDIA L40S data sheet; memory: that of the L40, QwenLM/Qwen3-VL issue 2097"},
		{Name: "h100", Aliases: []string{"NVIDIA H100 80GB", "NVIDIA H100", "h100-80gb", "h100-sxm"}, Memory: gib(79.11), Read: 3350e9, Flops16: 989e12, Flops8: 1979e12, Link: 450e9, Network: 50e9, Host: pcie5,
			Source: "NVIDIA H100 data sheet, SXM; memory: vllm-project/vllm issue 27508"},
		{Name: "h100-nvl", Aliases: []string{"NVIDIA H100 NVL"}, Memory: gib(93.00), Read: 3900e9, Flops16: 835e12, Flops8: 1671e12, Link: 300e9, Host: pcie5,
			Source: "NVIDIA H100 data sheet, NVL; memory: ali-vilab/VACE issue 56"},
		{Name: "h200", Aliases: []string{"NVIDIA H200"}, Memory: gib(139.8), Read: 4800e9, Flops16: 989e12, Flops8: 1979e12, Link: 450e9, Network: 50e9, Host: pcie5,
			Source: "NVIDIA H200 data sheet, SXM"},
		{Name: "h20", Aliases: []string{"NVIDIA H20"}, Memory: 97871 << 20, Read: 4000e9, Flops16: 148e12, Flops8: 296e12, Link: 450e9, Host: pcie5,
			Source: "NVIDIA H20 data sheet; memory: as nvidia-smi shows it"},
		{Name: "b200", Aliases: []string{"NVIDIA B200"}, Memory: gib(178.4), Read: 7700e9, Flops16: 2250e12, Flops8: 4500e12, Only8: FP8, Flops4: 9000e12, FlopsMX: 4500e12, Link: 900e9, Network: 50e9, Host: pcie5,
			Source: "NVIDIA DGX B200 data sheet, an eighth of the system"},
		{Name: "b300", Aliases: []string{"NVIDIA B300"}, Memory: 275040 << 20, Read: 7750e9, Flops16: 2250e12, Flops8: 4500e12, Only8: FP8, Flops4: 13500e12, FlopsMX: 4500e12, Link: 900e9, Network: 100e9, Host: pcie6,
			Source: "NVIDIA HGX B300 data sheet, an eighth of the system (8 bits: fp8; int8 is slower); memory: nvidia-smi, in ai-dynamo/aiconfigurator systems/b300_sxm.yaml"},
		{Name: "gb200", Aliases: []string{"NVIDIA GB200"}, Memory: 189471 << 20, Read: 8000e9, Flops16: 2500e12, Flops8: 5000e12, Only8: FP8, Flops4: 10000e12, FlopsMX: 5000e12, Link: 900e9, Linked: 72, Network: 50e9, Host: 225e9,
			Source: "NVIDIA GB200 NVL72 data sheet, half of a superchip; host: half of NVLink-C2C; memory: nvidia-smi, in ai-dynamo/aiconfigurator systems/gb200.yaml"},
	}, workstationCards()...)
}
