// Walks a tree and prints every file's size and SHA-1; four at once; with -write it makes and removes
// some first. A program that makes its system calls itself.
package main

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

func main() {
	top := os.Args[len(os.Args)-1]
	if os.Args[1] == "-write" {
		fmt.Println(os.MkdirAll(top+"/go/sub", 0755))
		fmt.Println(os.WriteFile(top+"/go/sub/file", []byte("from go\n"), 0644))
	}
	var files []string
	filepath.Walk(top, func(p string, i os.FileInfo, err error) error {
		if err != nil {
			fmt.Println(err)
		} else if i.Mode().IsRegular() {
			files = append(files, p)
		} else {
			fmt.Println(p, i.Mode())
		}
		return nil
	})
	lines := make([]string, len(files))
	var wait sync.WaitGroup
	for n := 0; n < 4; n++ {
		wait.Add(1)
		go func(n int) {
			for i := n; i < len(files); i += 4 {
				b, err := os.ReadFile(files[i])
				st, err2 := os.Stat(files[i])
				lines[i] = fmt.Sprintf("%s %d %v %x %v %v", files[i], st.Size(), st.Mode(), sha1.Sum(b), err, err2)
			}
			wait.Done()
		}(n)
	}
	wait.Wait()
	for _, l := range lines {
		fmt.Println(l)
	}
	if os.Args[1] == "-write" {
		fmt.Println(os.RemoveAll(top + "/go"))
	}
}
