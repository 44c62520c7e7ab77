package traces_test

import (
	"fmt"
	"log"

	"kvcompress/traces"
)

// A bundled trace and one of its replays with another method.
func ExampleBundled() {
	for _, name := range []string{"recall", "recall/snapkv"} {
		b, err := traces.Bundled(name)
		if err != nil {
			log.Fatal(err)
		}
		r := b.Trace.Requests()[0]
		fmt.Printf("%s: %+v, %d prompt and %d output tokens, method %q\n",
			b.Name, b.Trace.Meta.Shape, r.PromptTokens, r.OutputTokens, b.Options.Method)
	}
	// Output:
	// recall: {Layers:4 KVHeads:2 Group:2 HeadSize:32}, 1024 prompt and 24 output tokens, method ""
	// recall/snapkv: {Layers:4 KVHeads:2 Group:2 HeadSize:32}, 1024 prompt and 24 output tokens, method "snapkv"
}
