package token

import "context"

// Flush writes down the last uses, as happens once a minute.
func (s *Service) Flush() error { return s.used.Flush(context.Background()) }

// ForgetVerified makes the service verify every token again.
func (s *Service) ForgetVerified() { s.verified.InvalidateAll() }
