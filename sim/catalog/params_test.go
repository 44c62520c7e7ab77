package catalog

import (
	"math"
	"strings"
	"testing"
)

// TestParams compares parameters with those of the published safetensors files, exactly, from
// the models' pages on Hugging Face. DeepSeek-V3's layer for speculation is not counted: 671
// billion, as in its technical report.
func TestParams(t *testing.T) {
	for name, want := range map[string]int64{
		"llama-3.1-8b": 8_030_261_248, "llama-3.1-70b": 70_553_706_496, "llama-3.1-405b": 405_853_388_800, "llama-3.2-1b": 1_235_814_400,
		"llama-3.2-3b": 3_212_749_824, "llama-2-7b": 6_738_415_616, "llama-2-13b": 13_015_864_320, "llama-2-70b": 68_976_648_192,
		"codellama-34b": 33_743_970_304, "yi-34b": 34_388_917_248, "mistral-7b": 7_241_732_096, "mistral-nemo": 12_247_782_400,
		"mistral-small-24b": 23_572_403_200, "mixtral-8x7b": 46_702_792_704, "mixtral-8x22b": 140_620_634_112,
		"qwen2.5-0.5b": 494_032_768, "qwen2.5-1.5b": 1_543_714_304, "qwen2.5-3b": 3_085_938_688, "qwen2.5-7b": 7_615_616_512, "qwen2.5-14b": 14_770_033_664,
		"qwen2.5-32b": 32_763_876_352, "qwen2.5-72b": 72_706_203_648, "qwen3-8b": 8_190_735_360, "qwen3-32b": 32_762_123_264,
		"qwen1.5-moe-a2.7b": 14_315_784_192, "qwen3-30b-a3b": 30_532_122_624, "qwen3-235b-a22b": 235_093_634_560, "qwen3-next-80b-a3b": 79_674_391_296,
		"gemma-2-2b": 2_614_341_888, "gemma-2-9b": 9_241_705_984, "gemma-2-27b": 27_227_128_320, "gemma-3-1b": 999_885_952,
		"gemma-3-4b": 4_300_079_472, "gemma-3-12b": 12_187_325_040, "gemma-3-27b": 27_432_406_640,
		"gpt-oss-20b": 20_914_757_184, "gpt-oss-120b": 116_829_156_672, "phi-3-mini-4k": 3_821_079_552,
		"deepseek-v2-lite": 15_706_484_224, "deepseek-v2": 235_741_434_880,
		"mamba-2.8b": 2_768_345_600, "falcon-mamba-7b": 7_272_665_088, "mamba-codestral-7b": 7_285_403_648, "rwkv-5-world-7b": 7_518_044_160,
		"recurrentgemma-2b": 2_682_862_080, "jamba-v0.1": 51_570_323_328,
	} {
		if got := find(t, name).Params(); got != want {
			t.Errorf("%s: %d parameters, want %d", name, got, want)
		}
	}
	for name, want := range map[string]float64{ // in billions
		"qwen3-0.6b": 0.596, "qwen3-1.7b": 1.72, "qwen3-4b": 4.02, "qwen3-14b": 14.77,
		"deepseek-v3": 671, "kimi-k2": 1026, "recurrentgemma-9b": 8.58,
	} {
		if got := float64(find(t, name).Params()) / 1e9; math.Abs(got/want-1) > 0.001 {
			t.Errorf("%s: %.3f billion parameters, want %v", name, got, want)
		}
	}
}

// TestActive compares the active parameters of a token, the output matrix included, with the
// figures of the models' reports. Some count the embedding table too: at most a tenth.
func TestActive(t *testing.T) {
	for name, want := range map[string]float64{
		"mixtral-8x7b": 12.9, "qwen3-30b-a3b": 3.3, "qwen3-235b-a22b": 22, "deepseek-v2-lite": 2.4, "deepseek-v2": 21, "deepseek-v3": 37, "kimi-k2": 32,
		"gpt-oss-20b": 3.6, "gpt-oss-120b": 5.1, "jamba-v0.1": 12, "qwen3.5-397b-a17b": 17,
	} {
		m := find(t, name)
		n := int64(m.Hidden) * int64(m.Vocab)
		for _, kind := range []Kind{Linear, Routed} {
			for _, w := range m.Active(m.Weights, kind, &Card{}) {
				n += w
			}
		}
		if got := float64(n) / 1e9; math.Abs(got/want-1) > 0.1 {
			t.Errorf("%s: a token passes %.2f billion parameters, want %v", name, got, want)
		}
	}
}

// TestCheckpointBytes compares weights with published checkpoints that are quantized.
func TestCheckpointBytes(t *testing.T) {
	const gib = 1 << 30
	for name, want := range map[string]float64{ // of the gpt-oss model card, table 1
		"gpt-oss-20b": 12.8, "gpt-oss-120b": 60.8,
	} {
		m := find(t, name)
		if got := float64(m.Bytes(m.Weights)) / gib; math.Abs(got-want) > 0.05 {
			t.Errorf("%s: %.2f GiB, want %v", name, got, want)
		}
	}
	// By hand. Of Llama-3.1-70B in 8 bits, a scale of 4 bytes for each output: 80 layers of
	// 10,240 and 8,192 outputs of attention and 2·28,672 and 8,192 of the MLP.
	m := find(t, "llama-3.1-70b-int8")
	const linear = 80 * (2*8192*8192 + 2*8192*1024 + 3*8192*28672)
	want := int64(linear + 4*80*(10240+8192+2*28672+8192) + 2*(70_553_706_496-linear))
	if got := m.Bytes(INT8); got != want {
		t.Errorf("%s: %d bytes, want %d", m.Name, got, want)
	}
	// In bits that are not the checkpoint's, group scales and zero points count.
	m = find(t, "llama-3.1-8b")
	const layers = 32 * (2*4096*4096 + 2*4096*1024 + 3*4096*14336)
	want = layers/2 + layers/128*2 + layers/128/2 + 2*(8_030_261_248-layers)
	if got := m.Bytes(INT4); got != want {
		t.Errorf("%s in int4: %d bytes, want %d", m.Name, got, want)
	}
}

// TestExperts splits weights into those that every step reads and those of one expert of each
// layer: for Mixtral three matrices of 4,096 × 14,336 in each of 32 layers.
func TestExperts(t *testing.T) {
	m := find(t, "mixtral-8x7b")
	const expert = 2 * 32 * 3 * 4096 * 14336
	if got := m.ExpertBytes(BF16); got != expert {
		t.Errorf("an expert of all layers takes %d bytes, want %d", got, expert)
	}
	table := int64(2 * 32000 * 4096)
	if got, want := m.StepBytes(BF16), m.Bytes(BF16)-8*expert-table; got != want {
		t.Errorf("every step reads %d bytes, want %d", got, want)
	}
	m = find(t, "gemma-2-2b") // its table is the output matrix too
	if m.StepBytes(BF16) != m.Bytes(BF16) {
		t.Error("a tied table is not read")
	}
	m = find(t, "gemma-3-4b") // the encoder of images and the projector are held, and read for no token
	if got, want := m.Bytes(BF16)-m.StepBytes(BF16), int64(2*(416_866_032+2_950_272)); got != want {
		t.Errorf("%d bytes are held and not read, want %d", got, want)
	}
}

// TestRouters: the bits of a model's routers, and of the vector that corrects the experts' weights (0 for none), where the
// other matrices are in 8 bits.
func TestRouters(t *testing.T) {
	models := map[string]*Model{}
	for _, of := range publishedModels() {
		if m, err := ParseConfig([]byte("{"+of.entries+"}"), nil); err == nil {
			models[of.model] = &m
		}
	}
	for name, want := range map[string][2]int{
		"llama-4-scout": {16, 0}, "gemma-4-26b-a4b": {16, 0}, "glm-4.5": {16, 32}, "qwen3.5-397b-a17b": {16, 0}, "kimi-linear-48b-a3b": {16, 32},
		"deepseek-v3": {16, 32}, "deepseek-v2": {16, 0}, "glm-5-fp8": {16, 32}, "ibm-granite/granite-3.1-1b-a400m-base": {16, 0},
		"minimax-m2.5": {32, 32}, "nemotron-3-nano-30b-a3b": {32, 32}, "baidu/ERNIE-4.5-21B-A3B-PT": {32, 32}, "XiaomiMiMo/MiMo-V2-Flash": {32, 32},
		"mixtral-8x7b": {8, 0}, "qwen3-30b-a3b": {8, 0},
	} {
		m := models[name]
		if m == nil {
			m = find(t, name)
		}
		var got [2]int
		for i := range m.Modules {
			switch mod := &m.Modules[i]; {
			case mod.Kind == Linear && mod.In == m.Hidden && mod.Out == m.Experts.Total:
				got[0] = m.format(mod, FP8).Bits
			case strings.HasSuffix(mod.Name, "e_score_correction_bias"):
				got[1] = m.format(mod, FP8).Bits
			}
		}
		if got != want {
			t.Errorf("%s: routers in %d bits and their corrections in %d, want %d and %d", name, got[0], got[1], want[0], want[1])
		}
	}
}

// TestStates works out the bytes of a layer's state of one sequence.
func TestStates(t *testing.T) {
	for name, want := range map[string]int{
		"mamba-2.8b":              2 * 5120 * (16 + 3),
		"mamba-codestral-7b":      2 * (8192*128 + (8192+2*8*128)*3),
		"rwkv-5-world-7b":         2*2*4096 + 4*4096*64,
		"recurrentgemma-2b":       4*2560 + 2*2560*3,
		"jamba-v0.1":              2 * 8192 * (16 + 3),
		"qwen3-next-80b-a3b":      2 * (32*128*128 + (2*16*128+32*128)*3),
		"nemotron-3-nano-30b-a3b": 4*64*64*128 + 2*(64*64+2*8*128)*3,
		"nemotron-h-56b":          4*256*64*256 + 2*(256*64+2*8*256)*3,
		"qwen3.5-397b-a17b":       4*64*128*128 + 2*(2*16*128+64*128)*3,
	} {
		m := find(t, name)
		if got := m.State.Bytes(); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
}

// TestLayers counts the layers of each kind.
func TestLayers(t *testing.T) {
	for name, want := range map[string][4]int{ // full, windowed, stateful, window
		"llama-3.1-8b": {32, 0, 0, 0}, "mistral-7b-v0.1": {0, 32, 0, 4096}, "gemma-2-9b": {21, 21, 0, 4096}, "gemma-3-27b": {10, 52, 0, 1024},
		"gemma-3-1b": {4, 22, 0, 512}, "gpt-oss-20b": {12, 12, 0, 128}, "phi-3-mini-4k": {0, 32, 0, 2047}, "jamba-v0.1": {4, 0, 28, 0},
		"qwen3-next-80b-a3b": {12, 0, 36, 0}, "qwen3.5-397b-a17b": {15, 0, 45, 0}, "recurrentgemma-9b": {0, 12, 26, 2048}, "llama-4-scout": {12, 36, 0, 8192},
		"mamba-2.8b": {0, 0, 64, 0}, "nemotron-h-56b": {10, 0, 54, 0}, "nemotron-3-super-120b-a12b": {8, 0, 40, 0},
	} {
		m := find(t, name)
		if got := [4]int{m.Count(Full), m.Count(Windowed), m.Count(Stateful), m.Window}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func find(t *testing.T, name string) *Model {
	t.Helper()
	m, err := FindModel(name)
	if err != nil {
		t.Fatal(err)
	}
	return &m
}
