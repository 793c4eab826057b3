// The generators of committed code. A module of its own, so that users of zqonnx never download what they need.
module github.com/zqonnx/zqonnx/tools

go 1.26.0

require (
	github.com/bufbuild/protocompile v0.14.1
	github.com/mmcloughlin/avo v0.6.0
	google.golang.org/protobuf v1.36.12
)

require (
	golang.org/x/mod v0.42.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/tools v0.52.0 // indirect
)
