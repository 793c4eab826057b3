// Command protogen compiles internal/onnxpb/zqonnx/onnx.proto to Go. It needs no protoc:
//
//	go generate ./internal/onnxpb
package main

import (
	"context"
	"errors"
	"log"
	"os"
	"path/filepath"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	root   = "../internal/onnxpb"
	schema = "zqonnx/onnx.proto" // the name it is registered under: unlike that of any other ONNX library
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("protogen: ")
	files, err := generate(root)
	if err != nil {
		log.Fatal(err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			log.Fatal(err)
		}
	}
}

// generate returns the contents of the generated files by name.
func generate(root string) (map[string]string, error) {
	compiler := protocompile.Compiler{
		Resolver:       &protocompile.SourceResolver{ImportPaths: []string{root}},
		SourceInfoMode: protocompile.SourceInfoStandard, // carries the comments over
	}
	compiled, err := compiler.Compile(context.Background(), schema)
	if err != nil {
		return nil, err
	}
	plugin, err := protogen.Options{}.New(&pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{schema},
		Parameter:      proto.String("module=github.com/zqonnx/zqonnx/internal/onnxpb"),
		ProtoFile:      []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(compiled[0])},
	})
	if err != nil {
		return nil, err
	}
	internal_gengo.GenerateFile(plugin, plugin.Files[0])
	response := plugin.Response()
	if response.Error != nil {
		return nil, errors.New(response.GetError())
	}
	files := map[string]string{}
	for _, f := range response.File {
		files[f.GetName()] = f.GetContent()
	}
	return files, nil
}
