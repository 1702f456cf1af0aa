package logs

import (
	"bytes"
	"encoding/json"
	"strings"
	"time"

	"lambent.dev/lambent"
)

// Lines takes lines, as a [Stream] does.
type Lines interface {
	WriteLine(at time.Time, p []byte)
}

// leveled leaves out what is below a level.
type leveled struct {
	to    Lines
	least int
}

// Leveled is to without the lines of a function that are of less than the level which
// its logging configuration asks for, whoever has written them. They are JSON objects
// that name their level, and their time (AWS Lambda developer guide, "Log-level
// filtering"). Others stay: AWS takes them for INFO, but what a program prints when it
// breaks is among them.
func Leveled(to Lines, l lambent.Logging) Lines {
	least := rank(l.ApplicationLevel)
	if l.Format != "JSON" || least <= 0 {
		return to
	}
	return &leveled{to, least}
}

// WriteLine implements Lines.
func (f *leveled) WriteLine(at time.Time, p []byte) {
	if r := rankOf(p); r < 0 || r >= f.least {
		f.to.WriteLine(at, p)
	}
}

// rankOf is the rank of a line's level; -1 is none.
func rankOf(line []byte) int {
	if len(line) == 0 || line[0] != '{' || !bytes.Contains(line, []byte(`"level"`)) {
		return -1
	}
	var said struct{ Level, Timestamp, Time string }
	if json.Unmarshal(line, &said) != nil {
		return -1 // also where one of them is no text
	}
	if said.Timestamp == "" {
		said.Timestamp = said.Time
	}
	if _, err := time.Parse(time.RFC3339, said.Timestamp); err != nil {
		return -1
	}
	return rank(said.Level)
}

// rank orders the levels, by AWS's names and those of the managed runtimes' loggers;
// -1 is another word.
func rank(level string) int {
	switch strings.ToUpper(level) {
	case "TRACE":
		return 0
	case "DEBUG":
		return 1
	case "INFO", "INFORMATION":
		return 2
	case "WARN", "WARNING":
		return 3
	case "ERROR":
		return 4
	case "FATAL", "CRITICAL":
		return 5
	}
	return -1
}
