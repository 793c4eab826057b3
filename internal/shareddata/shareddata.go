// Package shareddata finds the folder of real models and conformance cases. The repository does not contain it: tests use it where
// it is, and are skipped where it is not.
package shareddata

import (
	"fmt"
	"os"
	"path/filepath"
)

// env names the folder; without it, the folder is called shared and lies beside that of the repository.
const env = "ZQONNX_SHARED"

// Conformance is the file of the ONNX project's backend cases.
const Conformance = "conformance/onnx-backend-tests.tar.gz"

// Path returns where a file of the folder is, given by its path there. The error says that it is missing, and what to set.
func Path(name string) (string, error) {
	folder := os.Getenv(env)
	if folder == "" {
		root, err := repository()
		if err != nil {
			return "", err
		}
		folder = filepath.Join(filepath.Dir(root), "shared")
	}
	path := filepath.Join(folder, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not here; set %s: %w", name, env, err)
	}
	return path, nil
}

// repository returns the folder that has go.mod, upwards from the one that go test runs a package's tests in.
func repository() (string, error) {
	here, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for folder := here; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", fmt.Errorf("no go.mod above %s; set %s", here, env)
		}
	}
}
