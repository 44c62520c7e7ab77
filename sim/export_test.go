package sim

// External tests, which use the default spread of sim/cost, need these of the package's own tests.
var (
	Load      = load
	Llama8B   = llama8B
	ServeLoad = serveLoad
)
