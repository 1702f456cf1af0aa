package server

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Capabilities whose holder no limit of its user's tasks stops (capabilities(7)).
const (
	capSysAdmin    = 21
	capSysResource = 24
)

// limitedUser is the server's real user where RLIMIT_NPROC holds for it (getrlimit(2)): not
// for root, and not for who has one of those capabilities. "" is nobody.
func limitedUser(proc string) string {
	self := statusOf(filepath.Join(proc, "self/status"))
	user := firstField(self["Uid"])
	caps, err := strconv.ParseUint(firstField(self["CapEff"]), 16, 64)
	if err != nil || user == "0" || caps&(1<<capSysAdmin|1<<capSysResource) != 0 {
		return ""
	}
	return user
}

// ofUser is how many tasks the user has and may have; most is 0 without a limit. As long
// as all that the host has would leave the user room, they count as the user's: nobody
// looks at each of them then.
func (t tasks) ofUser(all int) (have, most int) {
	if t.user == "" {
		return 0, 0
	}
	if most = t.userLimit(); most == 0 || all <= most/2 {
		return all, most
	}
	dirs, err := os.ReadDir(t.proc)
	if err != nil {
		return 0, 0
	}
	for _, d := range dirs {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		s := statusOf(filepath.Join(t.proc, d.Name(), "status")) // none of one that has ended meanwhile
		if firstField(s["Uid"]) == t.user {
			n, _ := strconv.Atoi(firstField(s["Threads"]))
			have += n
		}
	}
	return have, most
}

// userLimit is the soft limit (proc_pid_limits(5)); 0 is none.
func (t tasks) userLimit() int {
	b, err := os.ReadFile(filepath.Join(t.proc, "self/limits"))
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(b), "\nMax processes")
	n, _ := strconv.Atoi(firstField(line)) // "unlimited" is no number
	return n
}

// statusOf reads a status file (proc_pid_status(5)).
func statusOf(path string) map[string]string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	all := map[string]string{}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			all[name] = value
		}
	}
	return all
}

func firstField(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}
