package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sallyport/sallyport/internal/access"
)

// maxSecretLine bounds a line with a secret, in bytes.
const maxSecretLine = 8 << 10

// A keyboard is where secrets come from: a terminal, which is asked without
// echo, or the lines of standard input. Never an argument, which others see.
type keyboard struct {
	cmd   *cobra.Command
	lines *bufio.Reader // nil: a terminal
	fd    int
}

// openKeyboard reads lines when the flag --password-stdin says so, and else
// needs a terminal.
func openKeyboard(cmd *cobra.Command) (*keyboard, error) {
	fromStdin, err := cmd.Flags().GetBool("password-stdin")
	if err != nil {
		return nil, err
	}
	k := &keyboard{cmd: cmd}
	if fromStdin {
		k.lines = bufio.NewReaderSize(cmd.InOrStdin(), maxSecretLine)
		return k, nil
	}
	f, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, usageError{errors.New("there is no terminal to ask for a password"), "give it on standard input, with --password-stdin"}
	}
	k.fd = int(f.Fd())
	return k, nil
}

func addPasswordStdin(cmd *cobra.Command, usage string) {
	cmd.Flags().Bool("password-stdin", false, usage)
}

// readLine reads a secret from the first line of standard input.
func readLine(cmd *cobra.Command, what string) (access.Secret, error) {
	k := keyboard{cmd: cmd, lines: bufio.NewReaderSize(cmd.InOrStdin(), maxSecretLine)}
	return k.secret(what)
}

// secret asks for one secret, or reads one line.
func (k *keyboard) secret(prompt string) (access.Secret, error) {
	if k.lines != nil {
		line, err := k.lines.ReadSlice('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return access.Secret{}, fmt.Errorf("read password: longer than %d bytes, or not to be read", maxSecretLine)
		}
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		if text == "" {
			return access.Secret{}, fmt.Errorf("standard input holds no line with the %s", prompt)
		}
		return access.NewSecret(text), nil
	}
	fmt.Fprintf(k.cmd.ErrOrStderr(), "%s%s: ", strings.ToUpper(prompt[:1]), prompt[1:])
	defer fmt.Fprintln(k.cmd.ErrOrStderr())
	text, err := k.withoutEcho()
	if err != nil {
		return access.Secret{}, fmt.Errorf("read password: %w", err)
	}
	return access.NewSecret(string(text)), nil
}

// withoutEcho reads a line from the terminal. An interrupt ends the process
// with the echo turned on again.
func (k *keyboard) withoutEcho() ([]byte, error) {
	before, err := term.GetState(k.fd)
	if err != nil {
		return nil, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	defer close(done)
	defer signal.Stop(interrupted)
	go func() {
		select {
		case <-interrupted:
			term.Restore(k.fd, before)
			os.Exit(130)
		case <-done:
		}
	}()
	return term.ReadPassword(k.fd)
}

// newSecret asks for a new password, on a terminal twice.
func (k *keyboard) newSecret(prompt string) (access.Secret, error) {
	first, err := k.secret(prompt)
	if err != nil || k.lines != nil {
		return first, err
	}
	again, err := k.secret(prompt + " again")
	if err == nil && again.Reveal() != first.Reveal() {
		err = errors.New("the two passwords are not the same")
	}
	return first, err
}
