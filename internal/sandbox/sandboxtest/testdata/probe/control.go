package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// begin speaks the control protocol (runtimes/README.md) on descriptor 3, if there
// is one, up to the point at which the function's own code would run.
func begin() {
	if os.Getenv("LAMBENT_CONTROL") == "" {
		return
	}
	syscall.CloseOnExec(3)
	control := os.NewFile(3, "control")
	blank := os.Getenv("LAMBENT_BLANK") != ""
	os.Unsetenv("LAMBENT_CONTROL")
	os.Unsetenv("LAMBENT_BLANK")
	if blank {
		wait(control)
	}
	say(control, "L")
	list := []byte(`["json","email"]`)
	say(control, "M"+string(binary.BigEndian.AppendUint32(nil, uint32(len(list))))+string(list))
	control.Close()
}

func say(control *os.File, s string) {
	if _, err := io.WriteString(control, s); err != nil {
		os.Exit(20)
	}
}

// wait is the life of a blank: it ends with a function's environment, or for good.
func wait(control *os.File) {
	switch os.Getenv("PROBE_BLANK") {
	case "loud":
		fmt.Println("a blank that talks")
	case "fat": // at first
		b, err := syscall.Mmap(-1, 0, 96<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			os.Exit(26)
		}
		touch(b)
		syscall.Munmap(b)
	case "huge":
		b := make([]byte, 150<<20)
		touch(b)
		kept = append(kept, b)
	case "silent":
		select {}
	case "exit":
		os.Exit(5)
	}
	how := os.Getenv("PROBE_BLANK")
	say(control, "B")
	var length [4]byte
	if _, err := io.ReadFull(control, length[:]); err != nil {
		os.Exit(0)
	}
	message := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(control, message); err != nil {
		os.Exit(21)
	}
	if how == "late exit" {
		os.Exit(6)
	}
	os.Clearenv()
	// Token by token, for the order of the variables.
	d := json.NewDecoder(strings.NewReader(string(message)))
	for _, want := range []json.Token{json.Delim('{'), "env", json.Delim('{')} {
		if t, err := d.Token(); err != nil || t != want {
			os.Exit(22)
		}
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			os.Exit(23)
		}
		value, err := d.Token()
		if err != nil {
			os.Exit(24)
		}
		os.Setenv(name.(string), value.(string))
	}
	if err := os.Chdir("/var/task"); err != nil {
		os.Exit(25)
	}
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}
