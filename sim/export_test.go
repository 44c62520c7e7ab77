package sim

// What external tests, which use the default spread of sim/cost, need of those in here.
var (
	Load      = load
	Llama8B   = llama8B
	ServeLoad = serveLoad
)
