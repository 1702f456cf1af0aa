// Command lambent is the server and its command line in one binary.
package main

import (
	"os"

	"lambent.dev/lambent/internal/cli"
)

func main() { os.Exit(cli.Main(cli.OS())) }
