// The sample suite of frameworks.rs for Go.
package suite

import (
	"fmt"
	"os"
	"testing"
	"time"
)

func TestPasses(t *testing.T) {}

func TestSkips(t *testing.T) {
	t.Skip("not here")
}

func TestChanges(t *testing.T) {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	var major, minor int
	if n, err := fmt.Sscanf(string(release), "%d.%d", &major, &minor); n != 2 {
		t.Fatal(err)
	}
	if major > 6 || major == 6 && minor >= 6 {
		t.Fatal(string(release))
	}
}

func TestWaits(t *testing.T) {
	time.Sleep(time.Second)
}

func TestNests(t *testing.T) {
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {})
	}
}
