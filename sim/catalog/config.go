package catalog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kvcompress/strictjson"
)

// ParseConfig reads a Hugging Face config.json, and the hf_quant_config.json that ModelOpt writes
// beside it (nil if there is none).
//
// An unknown entry is an error that names it, since it may change memory or time; entries that are
// known to change neither are ignored. So a model is never mistaken for a similar one. Entries that are
// null, false, 0 or empty turn a feature off and are ignored.
func ParseConfig(text, quant []byte) (Model, error) {
	fail := func(err error) (Model, error) { return Model{}, fmt.Errorf("config.json: %w", err) }
	c, err := newConfig(text)
	if err != nil {
		return fail(err)
	}
	kind := c.str("model_type", "")
	build := families()[kind]
	if build == nil {
		return fail(fmt.Errorf("model_type is %.40q: want one of %s; other architectures are not modelled, but a config.json of a similar one can be projected instead", kind, strings.Join(slices.Sorted(maps.Keys(families())), ", ")))
	}
	if texts := composites()[kind]; texts != nil {
		c.flatten(texts)
		if err := errors.Join(c.errs...); err != nil {
			return fail(err)
		}
	}
	if strings.HasPrefix(kind, "gemma3") && !c.has("vocab_size") {
		c.entries["vocab_size"] = []byte("262208") // transformers' default, which published files leave out
	}
	if kind == "nemotron_h" && !c.has("num_hidden_layers") { // newer files have the list of layers alone
		if n := len(nemotronPattern(c)); n > 0 {
			c.entries["num_hidden_layers"] = strconv.AppendInt(nil, int64(n), 10)
		}
	}
	b := newBuilder(c)
	if err := errors.Join(b.c.errs...); err != nil {
		return fail(err)
	}
	build(b)
	b.finish()
	if err := b.err(); err != nil {
		return fail(err)
	}
	if err := errors.Join(b.quantize(quant), errors.Join(c.errs...)); err != nil {
		return fail(err)
	}
	if err := c.unread(); err != nil {
		return fail(err)
	}
	return b.m, nil
}

// config has the entries of a config.json, and tracks which of them have been read.
type config struct {
	at      string // path of these entries in the file, for errors
	entries map[string]json.RawMessage
	read    map[string]bool
	errs    []error
}

// newConfig returns the entries of an object, without those that are null.
func newConfig(text []byte) (*config, error) {
	c := &config{entries: map[string]json.RawMessage{}, read: map[string]bool{}}
	err := strictjson.Object(withoutInfinity(text), func(name string, value []byte) error {
		if value = bytes.TrimSpace(value); !bytes.Equal(value, []byte("null")) {
			c.entries[name] = slices.Clone(value)
		}
		return nil
	})
	return c, err
}

// withoutInfinity replaces Infinity and NaN, which Python writes and JSON does not have, by null. No
// entry that matters here has these values.
func withoutInfinity(text []byte) []byte {
	var out []byte
	for i := 0; i < len(text); {
		n := 1
		switch c := text[i]; {
		case c == '"':
			for i+n < len(text) && text[i+n] != '"' {
				if text[i+n] == '\\' {
					n++
				}
				n++
			}
			n = min(n+1, len(text)-i)
		case c == '-' || c == 'I' || c == 'N':
			if word := notNumber(text[i:]); word > 0 {
				out = append(out, "null"...)
				i += word
				continue
			}
		}
		out = append(out, text[i:i+n]...)
		i += n
	}
	return out
}

func notNumber(text []byte) int {
	for _, word := range []string{"Infinity", "-Infinity", "NaN"} {
		if bytes.HasPrefix(text, []byte(word)) {
			return len(word)
		}
	}
	return 0
}

func (c *config) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// get decodes an entry, if it is there.
func (c *config) get(name string, to any, want string) bool {
	c.read[name] = true
	value, ok := c.entries[name]
	if !ok {
		return false
	}
	if err := json.Unmarshal(value, to); err != nil {
		c.fail("%s%s is %s, want %s", c.at, name, strictjson.Excerpt([]byte(value)), want)
		return false
	}
	return true
}

// num returns an entry with a whole number, or the default.
func (c *config) num(name string, byDefault int) int {
	n := byDefault
	if !c.get(name, &n, "a whole number") {
		return byDefault
	}
	return n
}

// size returns a required number, from 1 to a bound.
func (c *config) size(name string, bound int) int { return c.sizeOr(name, 0, bound) }

// sizeOr returns a number from 1 to a bound, with a default.
func (c *config) sizeOr(name string, byDefault, bound int) int {
	n := byDefault
	switch read := c.get(name, &n, "a whole number"); {
	case !read && c.has(name): // get has failed
	case !read && byDefault < 1:
		c.fail("%s%s is missing, want 1 to %d", c.at, name, bound)
	case n < 1 || n > bound:
		c.fail("%s%s is %d, want 1 to %d", c.at, name, n, bound)
	default:
		return n
	}
	return 1
}

func (c *config) real(name string, byDefault float64) float64 {
	v := byDefault
	if !c.get(name, &v, "a number") {
		return byDefault
	}
	return v
}

func (c *config) flag(name string, byDefault bool) bool {
	v := byDefault
	if !c.get(name, &v, "true or false") {
		return byDefault
	}
	return v
}

func (c *config) str(name, byDefault string) string {
	v := byDefault
	if !c.get(name, &v, "a string") {
		return byDefault
	}
	return v
}

func (c *config) strs(name string) (v []string) {
	c.get(name, &v, "a list of strings")
	return v
}

func (c *config) nums(name string) (v []int) {
	c.get(name, &v, "a list of whole numbers")
	return v
}

// has reports whether an entry is there.
func (c *config) has(name string) bool { return c.entries[name] != nil }

// object returns an entry that is an object of its own, or nil.
func (c *config) object(name string) *config {
	c.read[name] = true
	value, ok := c.entries[name]
	if !ok {
		return nil
	}
	sub, err := newConfig(value)
	if err != nil {
		c.fail("%s%s: %w", c.at, name, err)
		return nil
	}
	sub.at = c.at + name + "."
	return sub
}

// objects returns an entry that is an object of objects, by name.
func (c *config) objects(name string) map[string]*config {
	of := c.object(name)
	if of == nil {
		return nil
	}
	all := map[string]*config{}
	for key := range of.entries {
		if sub := of.object(key); sub != nil {
			all[key] = sub
		}
	}
	c.errs = append(c.errs, of.errs...)
	return all
}

// list returns an entry that is a list of objects.
func (c *config) list(name string) (all []*config) {
	var raw []json.RawMessage
	if !c.get(name, &raw, "a list") {
		return nil
	}
	for i, value := range raw {
		of, err := newConfig(value)
		if err != nil {
			c.fail("%s%s[%d]: %w", c.at, name, i, err)
			return nil
		}
		of.at = fmt.Sprintf("%s%s[%d].", c.at, name, i)
		all = append(all, of)
	}
	return all
}

// take reports what is wrong with the entries of an object within these, which has been read.
func (c *config) take(of *config) {
	c.errs = append(c.errs, of.errs...)
	if err := of.unread(); err != nil {
		c.errs = append(c.errs, err)
	}
}

// unread returns an error that names the entries that have not been read and may change
// memory or time.
func (c *config) unread() error {
	var names []string
	for name, value := range c.entries {
		if !c.read[name] && !isNeutral(name) && !isOff(value) {
			names = append(names, fmt.Sprintf("%.60q", c.at+name))
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	more := ""
	if n := len(names) - 8; n > 0 {
		names, more = names[:8], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("%s%s: unknown, and may change the model's memory or time; remove an entry that changes neither", strings.Join(names, ", "), more)
}

// isOff reports whether a value turns the feature of its entry off.
func isOff(value json.RawMessage) bool {
	switch string(value) {
	case "false", "0", "0.0", `""`, "[]", "{}":
		return true
	}
	return false
}

// isNeutral reports whether an entry changes neither memory nor time. Such entries are about training,
// sampling, tokens or arithmetic.
func isNeutral(name string) bool {
	return strings.HasPrefix(name, "_") || strings.HasSuffix(name, "_token_id") || strings.HasSuffix(name, "_dropout") ||
		strings.HasSuffix(name, "_pdrop") || strings.HasSuffix(name, "_token_index") || slices.Contains(neutral(), name)
}

func neutral() []string {
	return []string{
		// What the file is.
		"architectures", "auto_map", "transformers_version", "torch_dtype", "dtype", "tokenizer_class", "model_type", "name_or_path",
		"unsloth_version", "unsloth_fixed", "quantization_config", "custom_pipelines", "rwkv_version", "is_decoder", "keys_to_ignore_at_inference",
		// Arithmetic and positions.
		"hidden_act", "hidden_activation", "rms_norm_eps", "layer_norm_epsilon", "layer_norm_eps", "norm_eps", "rope_theta", "rope_scaling",
		"rope_parameters", "rope_interleave", "rope_ratio", "partial_rotary_factor", "original_max_position_embeddings",
		"initial_context_length", "max_window_layers", "attn_logit_softcapping", "final_logit_softcapping", "logits_soft_cap", "query_pre_attn_scalar",
		"attention_multiplier", "embedding_multiplier", "logits_scaling", "residual_multiplier", "embeddings_scale_by_sqrt_dim", "swiglu_limit",
		"attention_scaling", "rescale_every", "rescale_prenorm_residual", "residual_in_fp32", "w_init_variance_scale", "final_w_init_variance_scale",
		"time_step_floor", "time_step_init_scheme", "time_step_limit", "time_step_max", "time_step_min", "time_step_scale", "mixer_rms_eps", "rms_norm",
		"norm_before_gate", "mscale", "use_bidirectional_attention",
		// Routing.
		"norm_topk_prob", "n_group", "topk_group", "routed_scaling_factor", "scoring_func", "topk_method", "router_aux_loss_coef",
		"router_jitter_noise", "aux_loss_alpha", "seq_aux", "output_router_logits", "ep_size", "num_logits_to_keep",
		// Training, sampling and implementations.
		"initializer_range", "use_cache", "pretraining_tp", "use_mamba_kernels", "use_mambapy", "use_falcon_mambapy", "cache_implementation",
		"attn_implementation", "chunk_size", "chunk_size_feed_forward", "return_dict", "problem_type", "id2label", "label2id", "pruned_heads",
		"temperature", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty", "max_length", "min_length", "num_beams",
		"num_beam_groups", "diversity_penalty", "num_return_sequences", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "early_stopping",
		"do_sample", "prefix", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids", "task_specific_params", "finetuning_task", "tie_encoder_decoder",
		// Layers that servers load only for speculative decoding.
		"num_nextn_predict_layers", "use_mtp", "num_mtp_modules", "mtp_transformer_layers",
		// What becomes of images before the encoder.
		"mm_tokens_per_image", "vision_soft_tokens_per_image", "ignore_index", "use_unified_vision_chunk", "video_placeholder", "image_placeholder",
	}
}
