-- +goose Up
ALTER TABLE policy ADD COLUMN reason text COLLATE "C" NOT NULL DEFAULT '';
