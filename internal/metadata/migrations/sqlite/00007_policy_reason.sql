-- +goose Up
ALTER TABLE policy ADD COLUMN reason TEXT NOT NULL DEFAULT '';
