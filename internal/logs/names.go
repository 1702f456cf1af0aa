package logs

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"lambent.dev/lambent"
)

const (
	maxGroupName = 512 // CreateLogGroup, CloudWatch Logs API reference
	maxFileName  = 200 // below the 255 bytes of Linux, with room for a suffix
)

// checkGroup holds a group's name against the rule of CreateLogGroup
// (CloudWatch Logs API reference): 1 to 512 of a-z, A-Z, 0-9 and "_-/.#".
func checkGroup(name string) error {
	ok := name != "" && len(name) <= maxGroupName
	for i := 0; ok && i < len(name); i++ {
		ok = alphanumeric(name[i]) || strings.IndexByte("_-/.#", name[i]) >= 0
	}
	if !ok {
		return (&lambent.Error{
			Code: lambent.CodeInvalid,
			Message: "1 validation error detected: Value at 'logGroupName' failed to satisfy constraint: " +
				`Member must satisfy regular expression pattern: [\.\-_/#A-Za-z0-9]+`,
		}).WithReason("InvalidParameterException")
	}
	return nil
}

func alphanumeric(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9'
}

// escape makes a name one safe path element: no slash, no leading dot, no more
// bytes than a file's name may have. Different names stay different.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if alphanumeric(c) || c == '-' || c == '_' || c == '#' || c == '.' && i > 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteString("%" + hex.EncodeToString([]byte{c}))
	}
	if b.Len() == 0 {
		return "%"
	}
	if b.Len() <= maxFileName {
		return b.String()
	}
	sum := sha256.Sum256([]byte(name))
	return b.String()[:maxFileName-65] + "~" + hex.EncodeToString(sum[:])
}

// formatID and parseID turn an event's id into text that sorts like it.
func formatID(id uint64) string {
	text := strconv.FormatUint(id, 10)
	return "00000000000000000000"[len(text):] + text
}

// Position is the ID before those of all events that are taken in from a moment on.
func Position(t time.Time) string { return formatID(uint64(t.UnixMilli())<<idShift - 1) }

func parseID(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, (&lambent.Error{Code: lambent.CodeInvalid, Message: "The specified position is invalid.", Cause: err}).WithReason("InvalidParameterException")
	}
	return id, nil
}
