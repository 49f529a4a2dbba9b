SELECT
  `t19`.`c4` AS `id`,
  `t19`.`v2` AS `x_bins`,
  `t19`.`v3` AS `x_clip`,
  `t19`.`v4` AS `at_hour_sin`,
  `t19`.`v5` AS `at_hour_cos`,
  `t19`.`v6` AS `at_year`,
  `t19`.`v7` AS `at_week`,
  `t19`.`v8` AS `at_weekday`,
  `t19`.`v9` AS `at_is_weekend`,
  `t19`.`v10` AS `at_dayofyear`,
  `t19`.`v12` AS `ratio`,
  `t19`.`v21` AS `s_frequency`,
  `t19`.`v23` AS `s_hashing`,
  `t19`.`v24` AS `x`,
  `t19`.`v25` AS `x_missing`,
  CASE
    WHEN COALESCE(
      ISNAN(`t19`.`v24` * CAST(`t19`.`c1` AS DOUBLE))
      OR (
        `t19`.`v24` * CAST(`t19`.`c1` AS DOUBLE) IN (CAST('inf' AS DOUBLE), CAST('-inf' AS DOUBLE))
        AND NOT (
          COALESCE(`t19`.`v24` IN (CAST('inf' AS DOUBLE), CAST('-inf' AS DOUBLE)), FALSE)
        )
      ),
      FALSE
    )
    THEN CAST(NULL AS DOUBLE)
    ELSE `t19`.`v24` * CAST(`t19`.`c1` AS DOUBLE)
  END AS `x_x_n`,
  CASE
    WHEN `t19`.`v24` <= CAST('-1.0' AS DOUBLE)
    THEN CAST(NULL AS DOUBLE)
    WHEN `t19`.`v24` > CAST('1.0' AS DOUBLE)
    THEN LN(`t19`.`v24` + CAST('1.0' AS DOUBLE))
    WHEN (
      `t19`.`v24` + CAST('1.0' AS DOUBLE)
    ) = CAST('1.0' AS DOUBLE)
    THEN `t19`.`v24`
    ELSE LN(`t19`.`v24` + CAST('1.0' AS DOUBLE)) * (
      `t19`.`v24` / (
        (
          `t19`.`v24` + CAST('1.0' AS DOUBLE)
        ) - CAST('1.0' AS DOUBLE)
      )
    )
  END AS `x_log1p`,
  (
    (
      (
        `t19`.`v24` - CAST('0.0' AS DOUBLE)
      ) / CAST('7.0' AS DOUBLE)
    ) * CAST('1.0' AS DOUBLE)
  ) + CAST('0.0' AS DOUBLE) AS `x_min_max`,
  CAST(CAST(IF(`t19`.`v15` = 0, 1, 0) AS BIGINT) AS TINYINT) AS `s_a`,
  CAST(CAST(IF(`t19`.`v15` = 1, 1, 0) AS BIGINT) AS TINYINT) AS `s_b`,
  CAST(CAST(IF(`t19`.`v15` = 2, 1, 0) AS BIGINT) AS TINYINT) AS `s_c`,
  CAST(CAST(IF((
    `t19`.`c2` IS NOT NULL
  ) AND (
    `t19`.`v15` IS NULL
  ), 1, 0) AS BIGINT) AS TINYINT) AS `s__other`,
  CAST(CAST(IF(`t19`.`c2` IS NULL, 1, 0) AS BIGINT) AS TINYINT) AS `s__null`,
  CAST(CASE
    WHEN `t19`.`c1` IS NULL
    THEN CAST(NULL AS BIGINT)
    WHEN `t19`.`v16` IS NULL
    THEN -1
    ELSE `t19`.`v16`
  END AS INT) AS `n`,
  CAST(CAST(CAST(`t19`.`v24` >= CAST('1.875' AS DOUBLE) AS INT) AS BIGINT) AS INT) AS `x_quantile_bins`,
  (
    `t19`.`v24` - CAST('1.875' AS DOUBLE)
  ) / CAST('1.5625' AS DOUBLE) AS `x_robust`,
  (
    `t19`.`v24` - CAST('2.1136363636363638' AS DOUBLE)
  ) / CAST('1.8381479480139455' AS DOUBLE) AS `x_standard`,
  CASE
    WHEN `t19`.`c2` IS NULL
    THEN CAST('0.45454545454545453' AS DOUBLE)
    WHEN `t19`.`v17` IS NULL
    THEN CAST('0.5' AS DOUBLE)
    ELSE `t19`.`v18`
  END AS `s_target`,
  (
    CASE
      WHEN `t19`.`v24` < CAST('0.0' AS DOUBLE)
      THEN -(
        CASE
          WHEN ABS(`t19`.`v24`) >= CAST('0.6359885132423133' AS DOUBLE)
          THEN (
            EXP(
              CAST('2.0314995507269065' AS DOUBLE) * CASE
                WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
                THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
                WHEN (
                  ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                ) = CAST('1.0' AS DOUBLE)
                THEN ABS(`t19`.`v24`)
                ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                  ABS(`t19`.`v24`) / (
                    (
                      ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                    ) - CAST('1.0' AS DOUBLE)
                  )
                )
              END
            ) - CAST('1.0' AS DOUBLE)
          ) / CAST('2.0314995507269065' AS DOUBLE)
          WHEN EXP(
            CAST('2.0314995507269065' AS DOUBLE) * CASE
              WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
              THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
              WHEN (
                ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
              ) = CAST('1.0' AS DOUBLE)
              THEN ABS(`t19`.`v24`)
              ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                ABS(`t19`.`v24`) / (
                  (
                    ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                  ) - CAST('1.0' AS DOUBLE)
                )
              )
            END
          ) = CAST('1.0' AS DOUBLE)
          THEN CASE
            WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
            THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
            WHEN (
              ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
            ) = CAST('1.0' AS DOUBLE)
            THEN ABS(`t19`.`v24`)
            ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
              ABS(`t19`.`v24`) / (
                (
                  ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                ) - CAST('1.0' AS DOUBLE)
              )
            )
          END
          ELSE (
            (
              EXP(
                CAST('2.0314995507269065' AS DOUBLE) * CASE
                  WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
                  THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
                  WHEN (
                    ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                  ) = CAST('1.0' AS DOUBLE)
                  THEN ABS(`t19`.`v24`)
                  ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                    ABS(`t19`.`v24`) / (
                      (
                        ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                      ) - CAST('1.0' AS DOUBLE)
                    )
                  )
                END
              ) - CAST('1.0' AS DOUBLE)
            ) * (
              (
                CAST('2.0314995507269065' AS DOUBLE) * CASE
                  WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
                  THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
                  WHEN (
                    ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                  ) = CAST('1.0' AS DOUBLE)
                  THEN ABS(`t19`.`v24`)
                  ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                    ABS(`t19`.`v24`) / (
                      (
                        ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                      ) - CAST('1.0' AS DOUBLE)
                    )
                  )
                END
              ) / LN(
                EXP(
                  CAST('2.0314995507269065' AS DOUBLE) * CASE
                    WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
                    THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
                    WHEN (
                      ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                    ) = CAST('1.0' AS DOUBLE)
                    THEN ABS(`t19`.`v24`)
                    ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                      ABS(`t19`.`v24`) / (
                        (
                          ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                        ) - CAST('1.0' AS DOUBLE)
                      )
                    )
                  END
                )
              )
            )
          ) / CAST('2.0314995507269065' AS DOUBLE)
        END
      )
      ELSE CASE
        WHEN ABS(`t19`.`v24`) >= CAST('61280606263441.56' AS DOUBLE)
        THEN (
          EXP(
            CAST('-0.03149955072690652' AS DOUBLE) * CASE
              WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
              THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
              WHEN (
                ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
              ) = CAST('1.0' AS DOUBLE)
              THEN ABS(`t19`.`v24`)
              ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                ABS(`t19`.`v24`) / (
                  (
                    ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                  ) - CAST('1.0' AS DOUBLE)
                )
              )
            END
          ) - CAST('1.0' AS DOUBLE)
        ) / CAST('-0.03149955072690652' AS DOUBLE)
        WHEN EXP(
          CAST('-0.03149955072690652' AS DOUBLE) * CASE
            WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
            THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
            WHEN (
              ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
            ) = CAST('1.0' AS DOUBLE)
            THEN ABS(`t19`.`v24`)
            ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
              ABS(`t19`.`v24`) / (
                (
                  ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                ) - CAST('1.0' AS DOUBLE)
              )
            )
          END
        ) = CAST('1.0' AS DOUBLE)
        THEN CASE
          WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
          THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
          WHEN (
            ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
          ) = CAST('1.0' AS DOUBLE)
          THEN ABS(`t19`.`v24`)
          ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
            ABS(`t19`.`v24`) / (
              (
                ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
              ) - CAST('1.0' AS DOUBLE)
            )
          )
        END
        ELSE (
          (
            EXP(
              CAST('-0.03149955072690652' AS DOUBLE) * CASE
                WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
                THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
                WHEN (
                  ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                ) = CAST('1.0' AS DOUBLE)
                THEN ABS(`t19`.`v24`)
                ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                  ABS(`t19`.`v24`) / (
                    (
                      ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                    ) - CAST('1.0' AS DOUBLE)
                  )
                )
              END
            ) - CAST('1.0' AS DOUBLE)
          ) * (
            (
              CAST('-0.03149955072690652' AS DOUBLE) * CASE
                WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
                THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
                WHEN (
                  ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                ) = CAST('1.0' AS DOUBLE)
                THEN ABS(`t19`.`v24`)
                ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                  ABS(`t19`.`v24`) / (
                    (
                      ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                    ) - CAST('1.0' AS DOUBLE)
                  )
                )
              END
            ) / LN(
              EXP(
                CAST('-0.03149955072690652' AS DOUBLE) * CASE
                  WHEN ABS(`t19`.`v24`) > CAST('1.0' AS DOUBLE)
                  THEN LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE))
                  WHEN (
                    ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                  ) = CAST('1.0' AS DOUBLE)
                  THEN ABS(`t19`.`v24`)
                  ELSE LN(ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)) * (
                    ABS(`t19`.`v24`) / (
                      (
                        ABS(`t19`.`v24`) + CAST('1.0' AS DOUBLE)
                      ) - CAST('1.0' AS DOUBLE)
                    )
                  )
                END
              )
            )
          )
        ) / CAST('-0.03149955072690652' AS DOUBLE)
      END
    END - CAST('0.9584077616984497' AS DOUBLE)
  ) / CAST('0.5454437019827792' AS DOUBLE) AS `x_yeo_johnson`
FROM (
  SELECT
    `t18`.`c0`,
    `t18`.`c1`,
    `t18`.`c2`,
    `t18`.`c3`,
    `t18`.`c4`,
    `t18`.`v1`,
    `t18`.`v2`,
    `t18`.`v3`,
    `t18`.`v4`,
    `t18`.`v5`,
    `t18`.`v6`,
    `t18`.`v7`,
    `t18`.`v8`,
    `t18`.`v9`,
    `t18`.`v10`,
    `t18`.`v11`,
    `t18`.`v12`,
    `t18`.`v13`,
    `t18`.`v14`,
    `t18`.`v15`,
    `t18`.`v16`,
    `t18`.`v17`,
    `t18`.`v18`,
    (
      `t18`.`c2` IS NOT NULL
    ) AND (
      `t18`.`v13` IS NULL
    ) AS `v19`,
    `t18`.`c2` IS NULL AS `v20`,
    CASE
      WHEN `t18`.`c2` IS NULL
      THEN CAST(NULL AS DOUBLE)
      WHEN `t18`.`v13` IS NULL
      THEN CAST('0.0' AS DOUBLE)
      ELSE `t18`.`v14`
    END AS `v21`,
    `t18`.`c2` IS NULL AS `v22`,
    CAST((
      (
        (
          (
            (
              (
                (
                  (
                    (
                      (
                        (
                          (
                            (
                              (
                                (
                                  CAST(LOCATE(
                                    SUBSTRING(
                                      MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
                                      IF(
                                        (
                                          0 + 1
                                        ) >= 1,
                                        0 + 1,
                                        0 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
                                      ),
                                      1
                                    ),
                                    '0123456789abcdef'
                                  ) AS BIGINT) - 1
                                ) * 16
                              ) + (
                                CAST(LOCATE(
                                  SUBSTRING(
                                    MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
                                    IF(
                                      (
                                        1 + 1
                                      ) >= 1,
                                      1 + 1,
                                      1 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
                                    ),
                                    1
                                  ),
                                  '0123456789abcdef'
                                ) AS BIGINT) - 1
                              )
                            ) * 16
                          ) + (
                            CAST(LOCATE(
                              SUBSTRING(
                                MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
                                IF(
                                  (
                                    2 + 1
                                  ) >= 1,
                                  2 + 1,
                                  2 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
                                ),
                                1
                              ),
                              '0123456789abcdef'
                            ) AS BIGINT) - 1
                          )
                        ) * 16
                      ) + (
                        CAST(LOCATE(
                          SUBSTRING(
                            MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
                            IF(
                              (
                                3 + 1
                              ) >= 1,
                              3 + 1,
                              3 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
                            ),
                            1
                          ),
                          '0123456789abcdef'
                        ) AS BIGINT) - 1
                      )
                    ) * 16
                  ) + (
                    CAST(LOCATE(
                      SUBSTRING(
                        MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
                        IF(
                          (
                            4 + 1
                          ) >= 1,
                          4 + 1,
                          4 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
                        ),
                        1
                      ),
                      '0123456789abcdef'
                    ) AS BIGINT) - 1
                  )
                ) * 16
              ) + (
                CAST(LOCATE(
                  SUBSTRING(
                    MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
                    IF(
                      (
                        5 + 1
                      ) >= 1,
                      5 + 1,
                      5 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
                    ),
                    1
                  ),
                  '0123456789abcdef'
                ) AS BIGINT) - 1
              )
            ) * 16
          ) + (
            CAST(LOCATE(
              SUBSTRING(
                MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
                IF(
                  (
                    6 + 1
                  ) >= 1,
                  6 + 1,
                  6 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
                ),
                1
              ),
              '0123456789abcdef'
            ) AS BIGINT) - 1
          )
        ) * 16
      ) + (
        CAST(LOCATE(
          SUBSTRING(
            MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)),
            IF(
              (
                7 + 1
              ) >= 1,
              7 + 1,
              7 + 1 + LENGTH(MD5(CAST(CONCAT(':', `t18`.`c2`) AS BINARY)))
            ),
            1
          ),
          '0123456789abcdef'
        ) AS BIGINT) - 1
      )
    ) % 10 AS INT) AS `v23`,
    COALESCE(`t18`.`c0`, CAST('2.1136363636363638' AS DOUBLE)) AS `v24`,
    CAST(CAST(IF(`t18`.`c0` IS NULL OR ISNAN(`t18`.`c0`), 1, 0) AS BIGINT) AS TINYINT) AS `v25`
  FROM (
    SELECT
      `t17`.`c0`,
      `t17`.`c1`,
      `t17`.`c2`,
      `t17`.`c3`,
      `t17`.`c4`,
      `t17`.`v1`,
      `t17`.`v2`,
      `t17`.`v3`,
      `t17`.`v4`,
      `t17`.`v5`,
      `t17`.`v6`,
      `t17`.`v7`,
      `t17`.`v8`,
      `t17`.`v9`,
      `t17`.`v10`,
      `t17`.`v11`,
      `t17`.`v12`,
      `t17`.`v13`,
      `t17`.`v14`,
      `t17`.`v15`,
      `t8`.`v16`,
      `t11`.`v17`,
      `t11`.`v18`
    FROM (
      SELECT
        `t15`.`c0`,
        `t15`.`c1`,
        `t15`.`c2`,
        `t15`.`c3`,
        `t15`.`c4`,
        `t15`.`v1`,
        `t15`.`v2`,
        `t15`.`v3`,
        `t15`.`v4`,
        `t15`.`v5`,
        `t15`.`v6`,
        `t15`.`v7`,
        `t15`.`v8`,
        `t15`.`v9`,
        `t15`.`v10`,
        `t15`.`v11`,
        `t15`.`v12`,
        `t15`.`v13`,
        `t15`.`v14`,
        CASE
          WHEN `t15`.`c2` = 'a'
          THEN 0
          WHEN `t15`.`c2` = 'b'
          THEN 1
          WHEN `t15`.`c2` = 'c'
          THEN 2
          ELSE NULL
        END AS `v15`
      FROM (
        SELECT
          `t14`.`c0`,
          `t14`.`c1`,
          `t14`.`c2`,
          `t14`.`c3`,
          `t14`.`c4`,
          `t14`.`v1`,
          `t14`.`v2`,
          `t14`.`v3`,
          `t14`.`v4`,
          `t14`.`v5`,
          `t14`.`v6`,
          `t14`.`v7`,
          `t14`.`v8`,
          `t14`.`v9`,
          `t14`.`v10`,
          `t14`.`v11`,
          `t14`.`v12`,
          `t12`.`v13`,
          `t12`.`v14`
        FROM (
          SELECT
            `t4`.`c0`,
            `t4`.`c1`,
            `t4`.`c2`,
            `t4`.`c3`,
            `t4`.`c4`,
            COALESCE(
              (
                `t4`.`c0` < CAST('0.0' AS DOUBLE)
              )
              OR (
                `t4`.`c0` > CAST('2.0' AS DOUBLE)
              ),
              FALSE
            ) AS `v1`,
            IF(
              (
                `t4`.`c0` < CAST('0.0' AS DOUBLE)
              )
              OR (
                `t4`.`c0` > CAST('2.0' AS DOUBLE)
              ),
              CAST(NULL AS INT),
              CAST(CAST(CAST(`t4`.`c0` >= CAST('1.0' AS DOUBLE) AS INT) AS BIGINT) AS INT)
            ) AS `v2`,
            CASE
              WHEN `t4`.`c0` < CAST('0.0' AS DOUBLE)
              THEN CAST('0.0' AS DOUBLE)
              WHEN `t4`.`c0` > CAST('2.0' AS DOUBLE)
              THEN CAST('2.0' AS DOUBLE)
              ELSE `t4`.`c0`
            END AS `v3`,
            SIN(
              CAST(EXTRACT(hour FROM `t4`.`c3`) AS DOUBLE) * CAST('0.2617993877991494' AS DOUBLE)
            ) AS `v4`,
            COS(
              CAST(EXTRACT(hour FROM `t4`.`c3`) AS DOUBLE) * CAST('0.2617993877991494' AS DOUBLE)
            ) AS `v5`,
            CAST(CAST(EXTRACT(year FROM `t4`.`c3`) AS BIGINT) AS INT) AS `v6`,
            CAST(CAST(EXTRACT(week FROM `t4`.`c3`) AS BIGINT) AS INT) AS `v7`,
            CAST(CAST((
              DAYOFWEEK(`t4`.`c3`) + 5
            ) % 7 AS BIGINT) AS INT) AS `v8`,
            CAST(CAST((
              (
                DAYOFWEEK(`t4`.`c3`) + 5
              ) % 7
            ) >= 5 AS BIGINT) AS INT) AS `v9`,
            CAST(CAST(CAST(DAYOFYEAR(`t4`.`c3`) AS INT) AS BIGINT) AS INT) AS `v10`,
            COALESCE(
              ISNAN(
                `t4`.`c0` / CASE
                  WHEN NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE)) = CAST('0.0' AS DOUBLE)
                  THEN CAST('nan' AS DOUBLE)
                  ELSE NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE))
                END
              )
              OR (
                `t4`.`c0` / CASE
                  WHEN NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE)) = CAST('0.0' AS DOUBLE)
                  THEN CAST('nan' AS DOUBLE)
                  ELSE NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE))
                END IN (CAST('inf' AS DOUBLE), CAST('-inf' AS DOUBLE))
                AND NOT (
                  COALESCE(`t4`.`c0` IN (CAST('inf' AS DOUBLE), CAST('-inf' AS DOUBLE)), FALSE)
                )
              ),
              FALSE
            ) AS `v11`,
            CASE
              WHEN COALESCE(
                ISNAN(
                  `t4`.`c0` / CASE
                    WHEN NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE)) = CAST('0.0' AS DOUBLE)
                    THEN CAST('nan' AS DOUBLE)
                    ELSE NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE))
                  END
                )
                OR (
                  `t4`.`c0` / CASE
                    WHEN NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE)) = CAST('0.0' AS DOUBLE)
                    THEN CAST('nan' AS DOUBLE)
                    ELSE NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE))
                  END IN (CAST('inf' AS DOUBLE), CAST('-inf' AS DOUBLE))
                  AND NOT (
                    COALESCE(`t4`.`c0` IN (CAST('inf' AS DOUBLE), CAST('-inf' AS DOUBLE)), FALSE)
                  )
                ),
                FALSE
              )
              THEN CAST(NULL AS DOUBLE)
              ELSE `t4`.`c0` / CASE
                WHEN NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE)) = CAST('0.0' AS DOUBLE)
                THEN CAST('nan' AS DOUBLE)
                ELSE NULLIF(CAST(`t4`.`c1` AS DOUBLE), CAST('0.0' AS DOUBLE))
              END
            END AS `v12`
          FROM (
            SELECT
              IF(ISNAN(CAST(`t0`.`x` AS DOUBLE)), CAST(NULL AS DOUBLE), CAST(`t0`.`x` AS DOUBLE)) AS `c0`,
              CAST(`t0`.`n` AS BIGINT) AS `c1`,
              `t0`.`s` AS `c2`,
              `t0`.`at` AS `c3`,
              `t0`.`id` AS `c4`
            FROM `sales`.`flights` AS `t0`
          ) AS `t4`
        ) AS `t14`
        LEFT OUTER JOIN (
          SELECT
            ELEMENT_AT(`t6`.`cells`, 2 + 1) AS `category`,
            CAST(ELEMENT_AT(`t6`.`cells`, 0 + 1) AS BIGINT) AS `v13`,
            CAST(ELEMENT_AT(`t6`.`cells`, 1 + 1) AS DOUBLE) AS `v14`
          FROM (
            SELECT
              SPLIT(`t3`.`row`, '') AS `cells`
            FROM (
              SELECT
                EXPLODE(
                  SPLIT('00.4166666666666667a10.3333333333333333b20.16666666666666666c', '')
                ) AS `row`
            ) AS `t3`
          ) AS `t6`
        ) AS `t12`
          ON `t14`.`c2` = `t12`.`category`
      ) AS `t15`
    ) AS `t17`
    LEFT OUTER JOIN (
      SELECT
        CAST(ELEMENT_AT(SPLIT(`t1`.`row`, ''), 1 + 1) AS BIGINT) AS `category`,
        CAST(ELEMENT_AT(SPLIT(`t1`.`row`, ''), 0 + 1) AS BIGINT) AS `v16`
      FROM (
        SELECT
          EXPLODE(SPLIT('01122334455667788991010111112', '')) AS `row`
      ) AS `t1`
    ) AS `t8`
      ON `t17`.`c1` = `t8`.`category`
    LEFT OUTER JOIN (
      SELECT
        ELEMENT_AT(`t5`.`cells`, 2 + 1) AS `category`,
        CAST(ELEMENT_AT(`t5`.`cells`, 0 + 1) AS BIGINT) AS `v17`,
        CAST(ELEMENT_AT(`t5`.`cells`, 1 + 1) AS DOUBLE) AS `v18`
      FROM (
        SELECT
          SPLIT(`t2`.`row`, '') AS `cells`
        FROM (
          SELECT
            EXPLODE(
              SPLIT('00.5333333333333333a10.5714285714285714b20.4166666666666667c', '')
            ) AS `row`
        ) AS `t2`
      ) AS `t5`
    ) AS `t11`
      ON `t17`.`c2` = `t11`.`category`
  ) AS `t18`
) AS `t19`
