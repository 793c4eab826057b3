//go:build !amd64

package peak

// F32 and U8S8 are empty: there are no loops for this architecture.
var F32, U8S8 []Loop
