// Command protogen makes the Go code of tokenregistry.v1 from the .proto files.
//
// It does what `protoc --go_out=. --go-grpc_out=.` or `buf generate` would do, without needing either on the machine:
// the .proto files are compiled by a library, and the two plugins are tools of this module, pinned in go.mod.
// Run it with `go generate` in the module's root.
package main

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const (
	protoDir = "../../proto"
	module   = "example.com/token-registry/client"
	// The .proto files' go_package is relative; a module says here where the package is in its own tree.
	goPackage = module + "/gen/tokenregistry/v1;tokenregistryv1"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("protogen: ")
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	paths, err := filepath.Glob(filepath.Join(protoDir, "tokenregistry/v1/*.proto"))
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return fmt.Errorf("no .proto files in %s", protoDir)
	}
	parameters := []string{"module=" + module}
	var names []string
	for _, path := range paths {
		name := "tokenregistry/v1/" + filepath.Base(path)
		names = append(names, name)
		parameters = append(parameters, "M"+name+"="+goPackage)
	}

	compiler := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{protoDir}}),
		SourceInfoMode: protocompile.SourceInfoStandard, // keeps the comments
	}
	files, err := compiler.Compile(ctx, names...)
	if err != nil {
		return err
	}
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: names,
		Parameter:      proto.String(strings.Join(parameters, ",")),
	}
	for _, file := range files {
		request.ProtoFile = appendFile(request.ProtoFile, file)
	}

	if err := os.RemoveAll("gen"); err != nil {
		return err
	}
	for _, plugin := range []string{"protoc-gen-go", "protoc-gen-go-grpc"} {
		if err := generate(ctx, plugin, request); err != nil {
			return fmt.Errorf("%s: %w", plugin, err)
		}
	}
	return nil
}

// appendFile appends a file after everything that it imports, as plugins expect.
func appendFile(list []*descriptorpb.FileDescriptorProto, file protoreflect.FileDescriptor) []*descriptorpb.FileDescriptorProto {
	for i := range file.Imports().Len() {
		list = appendFile(list, file.Imports().Get(i).FileDescriptor)
	}
	known := func(other *descriptorpb.FileDescriptorProto) bool { return other.GetName() == file.Path() }
	if slices.ContainsFunc(list, known) {
		return list
	}
	if source, ok := file.(linker.Result); ok {
		return append(list, source.FileDescriptorProto())
	}
	return append(list, protodesc.ToFileDescriptorProto(file))
}

// generate runs one plugin as protoc would and writes the files that it answers.
func generate(ctx context.Context, plugin string, request *pluginpb.CodeGeneratorRequest) error {
	input, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, "go", "tool", plugin)
	command.Stdin = bytes.NewReader(input)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return err
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(output, response); err != nil {
		return err
	}
	if response.Error != nil {
		return fmt.Errorf("%s", response.GetError())
	}
	for _, file := range response.File {
		if err := os.MkdirAll(filepath.Dir(file.GetName()), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file.GetName(), []byte(file.GetContent()), 0o644); err != nil {
			return err
		}
	}
	return nil
}
