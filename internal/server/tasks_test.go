package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lambent.dev/lambent/internal/config"
)

// hostOf makes a proc and a group with these files.
func hostOf(t *testing.T, files map[string]string) tasks {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return tasks{proc: dir, groups: []string{filepath.Join(dir, "group"), filepath.Join(dir, "nothing")}, user: limitedUser(dir)}
}

// user is a host whose server has a user, capabilities and a limit, and whose other
// processes belong to user 1000 and to somebody else.
func user(uid, caps, limit string) map[string]string {
	status := func(uid, threads string) string {
		return "Name:\tx\nUid:\t" + uid + "\t0\t0\t0\nThreads:\t" + threads + "\nCapEff:\t" + caps
	}
	return map[string]string{
		"loadavg": "0.1 0.2 0.3 2/1000 77", "sys/kernel/pid_max": "32768",
		"self/status": status(uid, "9"), "7/status": status(uid, "9"), "8/status": status("1000", "5"), "9/status": status("1001", "70"), "bus/status": status(uid, "5"),
		"self/limits": "Limit                     Soft Limit           Hard Limit           Units\nMax processes             " + limit + "                  200                  processes",
	}
}

func TestTaskRoom(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  taskRoom
		left  int
		bound int
	}{
		"pid_max": {map[string]string{"loadavg": "0.1 0.2 0.3 2/1000 77", "sys/kernel/threads-max": "90000", "sys/kernel/pid_max": "32768"},
			taskRoom{1000, 32768}, 32768 - 4096 - 1000, 32768 - 4096},
		"threads-max": {map[string]string{"loadavg": "0.1 0.2 0.3 2/3900 77", "sys/kernel/threads-max": "4000", "sys/kernel/pid_max": "4194304"},
			taskRoom{3900, 4000}, 4000 - 500 - 3900, 3500},
		"group": {map[string]string{"loadavg": "0.1 0.2 0.3 2/1000 77", "sys/kernel/pid_max": "32768", "group/pids.max": "400", "group/pids.current": "150"},
			taskRoom{150, 400}, 150, 300},
		"group without limit": {map[string]string{"loadavg": "0.1 0.2 0.3 2/1000 77", "sys/kernel/pid_max": "32768", "group/pids.max": "max", "group/pids.current": "150"},
			taskRoom{1000, 32768}, 32768 - 4096 - 1000, 32768 - 4096},
		"user":                       {user("1000", "0000000000000000", "100"), taskRoom{14, 100}, 100 - 25 - 14, 75},
		"user with room":             {user("1000", "0000000000000000", "2000"), taskRoom{1000, 2000}, 2000 - 256 - 1000, 2000 - 256},
		"root":                       {user("0", "0000000000000000", "100"), taskRoom{1000, 32768}, 32768 - 4096 - 1000, 32768 - 4096},
		"user with CAP_SYS_RESOURCE": {user("1000", "0000000001000000", "100"), taskRoom{1000, 32768}, 32768 - 4096 - 1000, 32768 - 4096},
		"user with CAP_SYS_ADMIN":    {user("1000", "0000000000200000", "100"), taskRoom{1000, 32768}, 32768 - 4096 - 1000, 32768 - 4096},
		"user without limit":         {user("1000", "0000000000000000", "unlimited"), taskRoom{1000, 32768}, 32768 - 4096 - 1000, 32768 - 4096},
		"nothing known":              {nil, taskRoom{}, 0, 0},
		"nonsense":                   {map[string]string{"loadavg": "1 2", "sys/kernel/pid_max": "many"}, taskRoom{}, 0, 0},
	} {
		h := hostOf(t, c.files)
		r, ok := h.room()
		if r != c.want || ok != (c.want.most > 0) || r.left() != c.left || h.bound() != c.bound {
			t.Errorf("%s: %+v, %v, %d left, bound %d; want %+v, %d left, bound %d", name, r, ok, r.left(), h.bound(), c.want, c.left, c.bound)
		}
	}
	if r, ok := hostTasks().room(); !ok || r.have < 1 || r.most < r.have {
		t.Errorf("this host has %+v, %v", r, ok)
	}
}

func TestHeadroomTellsWhatIsShort(t *testing.T) {
	few := hostOf(t, map[string]string{"loadavg": "0.1 0.2 0.3 2/3900 77", "sys/kernel/pid_max": "4000"})
	h := headroom(0, hostMemory(nil), few)()
	if h.Tasks != -400 || !strings.Contains(h.TasksText, "3900 processes and threads of the 4000") || h.MB <= 0 {
		t.Errorf("%+v", h)
	}
	if much := headroom(config.Size(1<<60), hostMemory(nil), few)(); much.MB > 0 && much.MBText != "" {
		t.Errorf("beyond an endless reserve there are %d MB", much.MB)
	}
	if h = headroom(0, hostMemory(nil), tasks{})(); h.Tasks < 1<<20 {
		t.Errorf("nothing is known, and there are %d tasks", h.Tasks)
	}
}
